//go:build linux

package redirect

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// flagOwner is NFT_TABLE_F_OWNER of linux/netfilter/nf_tables.h (Linux 5.12): only the socket that made the table may
// change it, and the kernel removes it when that socket closes.
const flagOwner = 2

// table is one nftables table and the netlink socket that owns it.
type table struct {
	*nftables.Conn
	*nftables.Table
}

// openTable makes a table that did not exist. userdata is kept beside it for everyone to read, at most
// maxUserdata bytes. EEXIST or EPERM say that somebody else has a table of the name.
func openTable(name string, userdata []byte) (*table, error) {
	var sock *netlink.Conn
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		sock = c
		return nil
	}))
	if err != nil {
		return nil, &step{"nf_tables (a netlink socket of NETLINK_NETFILTER)", err}
	}
	if err := own(sock, name, userdata); err != nil {
		return nil, errors.Join(&step{"nf_tables tables with an owner (Linux 5.12)", err}, conn.CloseLasting())
	}
	return &table{Conn: conn, Table: &nftables.Table{Family: nftables.TableFamilyINet, Name: name}}, nil
}

// own makes the table by a batch of its own: the library drops a table's flags.
func own(sock *netlink.Conn, name string, userdata []byte) error {
	attributes := []netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(name), 0)},
		{Type: unix.NFTA_TABLE_FLAGS, Data: binary.BigEndian.AppendUint32(nil, flagOwner)},
	}
	if len(userdata) > 0 {
		attributes = append(attributes, netlink.Attribute{Type: attrUserdata, Data: userdata})
	}
	body, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		return err
	}
	const create = netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl
	_, err = sock.SendMessages([]netlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, netlink.Request, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
		message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, create, unix.NFPROTO_INET, 0, body),
		message(unix.NFNL_MSG_BATCH_END, netlink.Request, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
	})
	if err != nil {
		return err
	}
	_, err = sock.Receive()
	return err
}

// message is one of nfnetlink: its header struct nfgenmsg (family, version, resource id) precedes the attributes.
func message(kind uint16, flags netlink.HeaderFlags, family byte, resource uint16, attributes []byte) netlink.Message {
	data := binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: flags},
		Data:   append(data, attributes...),
	}
}

func (t *table) addSet(s *nftables.Set) error {
	if err := t.AddSet(s, nil); err != nil {
		return err
	}
	return t.flush("sets with timeouts")
}

func (t *table) addChain(c *nftables.Chain) error {
	t.AddChain(c)
	return t.flush(fmt.Sprintf("chains of type %s for inet", c.Type))
}

// addRule adds one rule; needs names what the kernel must have for it.
func (t *table) addRule(c *nftables.Chain, needs string, exprs []expr.Any) error {
	t.AddRule(&nftables.Rule{Table: t.Table, Chain: c, Exprs: exprs})
	return t.flush(needs)
}

func (t *table) flush(needs string) error {
	if err := t.Flush(); err != nil {
		return &step{needs, err}
	}
	return nil
}

// Close removes the table and everything in it.
func (t *table) Close() error {
	t.DelTable(t.Table)
	return errors.Join(t.Flush(), t.CloseLasting())
}

// step is an error with what the step that failed needs of the kernel.
type step struct {
	needs string
	err   error
}

func (s *step) Error() string { return s.needs + ": " + s.err.Error() }
func (s *step) Unwrap() error { return s.err }
