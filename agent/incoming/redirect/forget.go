//go:build linux

package redirect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Conntrack remembers a connection for minutes or days after its end, and the address that it was shown under, even while
// nothing in the namespace uses conntrack. When a later table of Clients makes it work again, a client's direct connection
// from an address and port that were shown once would be taken for the remembered one. So each table marks its connections
// in conntrack, and they are forgotten with it; those of a process that was killed, by the next.
const (
	entryMark = 0x50_000000 // "P" and the table's id
	entryMask = 0xff_000000
	tableMask = ^uint32(entryMask)
)

const clientsPrefix = "podstep-clients-"

func clientsName(id uint32) string { return fmt.Sprintf("%s%06x", clientsPrefix, id) }

// Of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctGet      = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET
	ctDelete   = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE
	ctMark     = 8                                 // CTA_MARK
	ctMarkMask = 21                                // CTA_MARK_MASK
)

// forget deletes the entries of the table with this id.
func forget(id uint32) error {
	return conntrack(func(sock *netlink.Conn) error { return forgetBy(sock, id) })
}

// forgetStale deletes the entries of tables that are gone.
func forgetStale() error {
	return conntrack(func(sock *netlink.Conn) error {
		ids, err := marked(sock)
		if err != nil || len(ids) == 0 {
			return err
		}
		// A table that had entries and lives is still there after they were read.
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := nft.ListTablesOfFamily(nftables.TableFamilyINet)
		if err != nil {
			return err
		}
		for _, t := range tables {
			var id uint32
			if name, ok := strings.CutPrefix(t.Name, clientsPrefix); ok {
				if _, err := fmt.Sscanf(name, "%06x", &id); err == nil {
					delete(ids, id)
				}
			}
		}
		for id := range ids {
			err = errors.Join(err, forgetBy(sock, id))
		}
		return err
	})
}

func forgetBy(sock *netlink.Conn, id uint32) error {
	_, err := sock.Execute(byMark(ctDelete, netlink.Request|netlink.Acknowledge, entryMark|id, ^uint32(0)))
	return err
}

// marked returns the ids of all tables that have entries.
func marked(sock *netlink.Conn) (map[uint32]bool, error) {
	replies, err := sock.Execute(byMark(ctGet, netlink.Request|netlink.Dump, entryMark, entryMask))
	if err != nil {
		return nil, err
	}
	ids := map[uint32]bool{}
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
			// A kernel that knows no filter gives all.
			if attributes.Type() == ctMark && attributes.Uint32()&entryMask == entryMark {
				ids[attributes.Uint32()&tableMask] = true
			}
		}
		if err := attributes.Err(); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func byMark(kind uint16, flags netlink.HeaderFlags, mark, mask uint32) netlink.Message {
	body, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: ctMark, Data: binary.BigEndian.AppendUint32(nil, mark)},
		{Type: ctMarkMask, Data: binary.BigEndian.AppendUint32(nil, mask)},
	})
	if err != nil {
		panic(err) // only for attributes that are too long
	}
	return message(kind, flags, unix.AF_UNSPEC, 0, body)
}

// conntrack calls do with a socket to conntrack's entries.
func conntrack(do func(*netlink.Conn) error) (err error) {
	sock, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return &step{"nf_tables (a netlink socket of NETLINK_NETFILTER)", err}
	}
	defer func() { err = errors.Join(err, sock.Close()) }()
	if err := do(sock); err != nil {
		return &step{"conntrack's entries (CONFIG_NF_CT_NETLINK)", err}
	}
	return nil
}
