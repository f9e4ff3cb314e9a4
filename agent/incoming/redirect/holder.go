//go:build linux

package redirect

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"

	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"podstep.dev/internal/wire"
)

const (
	// attrUserdata is NFTA_TABLE_USERDATA of linux/netfilter/nf_tables.h (Linux 5.10).
	attrUserdata = 6
	// commentType is NFTNL_UDATA_TABLE_COMMENT of libnftnl: `nft list tables` shows it as the table's comment.
	commentType = userdata.Type(0)
	// maxComment is the longest comment in bytes: its length is one byte, and its end is one more.
	maxComment = 254
)

// encodeHolder makes the userdata of a table. A holder that is too long loses the end of its names.
func encodeHolder(h wire.Holder) []byte {
	for {
		text, err := json.Marshal(h)
		if err != nil {
			return nil
		}
		if over := len(text) - maxComment; over <= 0 {
			return userdata.AppendString(nil, commentType, string(text))
		}
		if len(h.Session) > 0 {
			h.Session = ""
			continue
		}
		h.Name = strings.ToValidUTF8(h.Name[:len(h.Name)/2], "")
	}
}

// ReadHolder tells who has stolen port in this network namespace, and whether anybody has.
func ReadHolder(port uint16) (wire.Holder, bool) { return holderOf(tableName(port)) }

// holderOf tells whose the table called name is, and whether there is one.
func holderOf(name string) (wire.Holder, bool) {
	data, err := readUserdata(name)
	if err != nil {
		return wire.Holder{}, false
	}
	var h wire.Holder
	if text, ok := userdata.GetString(data, commentType); ok {
		// A table that says nothing of its holder is held all the same.
		_ = json.Unmarshal([]byte(text), &h)
	}
	return h, true
}

func readUserdata(table string) (_ []byte, err error) {
	sock, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sock.Close()) }()
	name, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(table), 0)}})
	if err != nil {
		return nil, err
	}
	replies, err := sock.Execute(message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, netlink.Request, unix.NFPROTO_INET, 0, name))
	if err != nil {
		return nil, err
	}
	for _, r := range replies {
		if len(r.Data) < 4 {
			continue
		}
		attributes, err := netlink.NewAttributeDecoder(r.Data[4:])
		if err != nil {
			return nil, err
		}
		attributes.ByteOrder = binary.BigEndian
		for attributes.Next() {
			if attributes.Type() == attrUserdata {
				return attributes.Bytes(), nil
			}
		}
	}
	return nil, nil
}
