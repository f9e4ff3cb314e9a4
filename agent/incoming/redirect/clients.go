//go:build linux

package redirect

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// connectTimeout bounds a passthrough connect, and with it the life of a map element: once the handshake has begun,
// conntrack remembers the address.
const connectTimeout = 20 * time.Second

// Clients connects to listeners of this host so that they see somebody else's address: a table of source NAT for
// connections that carry [Mark]. The socket's priority, unique and random, is the key under which the rule finds the
// address; so the kernel chooses the port as late as for any other socket, and none is reserved. The table must outlive
// its connections: the kernel stops translating when the last such table goes.
type Clients struct {
	id    uint32
	table *table
	maps  map[byte]*nftables.Set // by NFPROTO
}

// OpenClients makes the table. What is missing is a *wire.Refusal.
func OpenClients() (*Clients, error) {
	if err := forgetStale(); err != nil {
		return nil, lacking("pass connections through", err)
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails since Go 1.24
	id := binary.NativeEndian.Uint32(random[:]) & tableMask
	t, err := openTable(clientsName(id), nil)
	if err != nil {
		return nil, lacking("pass connections through", err)
	}
	c := &Clients{id: id, table: t, maps: map[byte]*nftables.Set{}}
	if err := c.install(); err != nil {
		return nil, errors.Join(lacking("pass connections through", err), t.Close())
	}
	return c, nil
}

func (c *Clients) install() error {
	chain := &nftables.Chain{
		Name: "passthrough", Table: c.table.Table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	}
	if err := c.table.addChain(chain); err != nil {
		return err
	}
	for _, f := range []struct {
		family byte
		name   string
		value  nftables.SetDatatype
	}{{unix.NFPROTO_IPV4, "clients", nftables.TypeIPAddr}, {unix.NFPROTO_IPV6, "clients6", nftables.TypeIP6Addr}} {
		set := &nftables.Set{Table: c.table.Table, Name: f.name, IsMap: true, KeyType: nftables.TypeClassID, DataType: f.value, HasTimeout: true}
		if err := c.table.addSet(set); err != nil {
			return err
		}
		if err := c.table.addRule(chain, "source NAT by a map and conntrack marks (CONFIG_NFT_NAT, CONFIG_NFT_CT)", showClient(set, f.family, entryMark|c.id)); err != nil {
			return err
		}
		c.maps[f.family] = set
	}
	return nil
}

// Dial connects to to, whose accept will show client's address with another port. Errors are net.Dialer's.
func (c *Clients) Dial(ctx context.Context, client netip.Addr, to netip.AddrPort) (*net.TCPConn, error) {
	var id [4]byte
	_, _ = rand.Read(id[:])
	family := familyOf(to.Addr())
	element := nftables.SetElement{Key: id[:], Val: client.WithZone("").AsSlice(), Timeout: connectTimeout}
	if err := c.table.SetAddElements(c.maps[family], []nftables.SetElement{element}); err != nil {
		return nil, err
	}
	if err := c.table.flush("map elements"); err != nil {
		return nil, fmt.Errorf("show client: %w", err)
	}
	dialer := net.Dialer{Timeout: connectTimeout, Control: func(_, _ string, raw syscall.RawConn) error {
		return control(raw, func(fd int) error { return mark(fd, int(binary.NativeEndian.Uint32(id[:]))) })
	}}
	if to.Addr().Is4() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopbackSource(), 0))
	}
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	if err := Narrow(tcp); err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return tcp, nil
}

// loopbackSource is a random address of 127.0.0.0/8: connections that ended stay in TIME_WAIT under it, instead of using
// up the ports between one address and the target.
func loopbackSource() netip.Addr {
	var a [4]byte
	_, _ = rand.Read(a[:])
	a[0] = 127
	a[3] |= 1 // neither the network's nor the broadcast's address
	a[3] &^= 0x80
	return netip.AddrFrom4(a)
}

func mark(fd, priority int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, Mark); err != nil {
		return fmt.Errorf("set SO_MARK: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, priority); err != nil {
		return fmt.Errorf("set SO_PRIORITY: %w", err)
	}
	// The port is chosen at connect, for this one destination.
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
	}
	return bound(fd)
}

// Close removes the table. Connections that were made through it end.
func (c *Clients) Close() error { return errors.Join(c.table.Close(), forget(c.id)) }
