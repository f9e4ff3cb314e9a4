//go:build linux

package redirect

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
)

func entries(t *testing.T) []uint32 {
	t.Helper()
	var ids map[uint32]bool
	err := conntrack(func(sock *netlink.Conn) (err error) {
		ids, err = marked(sock)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(ids))
}

func TestOnlyConnectionsOfTablesThatAreGoneAreForgotten(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	open := func() *Clients {
		c, err := OpenClients()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := c.Dial(t.Context(), netip.MustParseAddr("127.0.0.1"), address(l.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return c
	}
	killed := open()
	live := open()
	if got, want := entries(t), []uint32{min(killed.id, live.id), max(killed.id, live.id)}; !slices.Equal(got, want) {
		t.Errorf("entries of %x, want %x", got, want)
	}
	// As the end of its process does.
	if err := killed.table.CloseLasting(); err != nil {
		t.Fatal(err)
	}
	next := open()
	if got, want := entries(t), []uint32{min(live.id, next.id), max(live.id, next.id)}; !slices.Equal(got, want) {
		t.Errorf("after another open: entries of %x, want %x", got, want)
	}
	for _, c := range []*Clients{live, next} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := entries(t); len(got) > 0 {
		t.Errorf("after close: entries of %x", got)
	}
}
