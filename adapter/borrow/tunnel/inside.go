package tunnel

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"podstep.dev/internal/wire"
)

// Inside is a request that the debuggee has got and has not answered to the end.
type Inside struct {
	Header wire.Header
	// Method and Target are the request line's.
	Method, Target string
	// Since is when it was delivered.
	Since time.Time
	// Peer and Local are the ends of the debuggee's connection as its kernel has them, where it is a socket of this network. The
	// debuggee itself is told Header.From and Header.To.
	Peer, Local netip.AddrPort
}

// Inside lists them, the oldest first.
func (t *Tunnel) Inside() []Inside { return t.inside.all() }

// inside keeps the list. The zero value is empty.
type inside struct {
	mu   sync.Mutex
	list []*Inside
}

func (i *inside) add(x *exchange) *Inside {
	entry := &Inside{Header: x.header, Method: x.request.Method, Target: x.request.Target, Since: time.Now()}
	if conn, ok := x.leg.conn.(interface {
		LocalAddr() net.Addr
		RemoteAddr() net.Addr
	}); ok {
		entry.Peer, entry.Local = socketAddr(conn.LocalAddr()), socketAddr(conn.RemoteAddr())
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.list = append(i.list, entry)
	return entry
}

func (i *inside) remove(entry *Inside) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.list = slices.DeleteFunc(i.list, func(other *Inside) bool { return other == entry })
}

func (i *inside) all() []Inside {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := make([]Inside, 0, len(i.list))
	for _, entry := range i.list {
		list = append(list, *entry)
	}
	return list
}

func socketAddr(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}
