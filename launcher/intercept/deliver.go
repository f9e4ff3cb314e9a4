//go:build linux

package intercept

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/splice"
)

// deliverSources is how many loopback addresses Deliver connects from: a port of one rests for a minute after use.
const deliverSources = 32

// incoming is a connection that Deliver made.
type incoming struct {
	from, to netip.AddrPort // what the debuggee sees

	mu     sync.Mutex
	cookie uint64    // of the socket that was first told so; a later one with the same real address is a stranger's
	ended  time.Time // zero while it stands
}

// incomingName is a name of the debuggee's end of a connection from the real address peer; zero when Deliver did not
// make it.
func (s *Supervisor) incomingName(peer netip.AddrPort, cookie uint64, which end) netip.AddrPort {
	s.mu.Lock()
	in := s.incoming[peer]
	s.mu.Unlock()
	if in == nil {
		return netip.AddrPort{}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.cookie == 0 {
		in.cookie = cookie
	}
	if in.cookie != cookie {
		return netip.AddrPort{}
	}
	if which == peerName {
		return in.from
	}
	return in.to
}

// Deliver connects to the debuggee's listener for port, the one that the debuggee asked for. Its accept shows from,
// its getsockname to. A stopped debuggee is connected to as well: its backlog takes it. The error is ECONNREFUSED when
// nobody listens. The caller closes the connection.
func (s *Supervisor) Deliver(ctx context.Context, port uint16, from, to netip.AddrPort) (splice.Conn, error) {
	s.waits.check() // a call that is gone may hold a socket still
	candidates := s.listenersFor(port)
	slices.SortFunc(candidates, func(a, b *listener) int {
		return cmp.Or(a.rank(to)-b.rank(to), b.since.Compare(a.since))
	})
	refused := error(unix.ECONNREFUSED)
	for _, l := range candidates {
		if !l.listens() {
			continue
		}
		if !l.alive() {
			s.forgetListener(l)
			continue
		}
		conn, err := s.deliverTo(ctx, l, from, to)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			return nil, fmt.Errorf("deliver to port %d: %w", port, err)
		}
		refused = err // gone this moment
	}
	return nil, fmt.Errorf("deliver to port %d: %w", port, refused)
}

// rank orders listeners for a destination: the family's own before the other, reachable ones before loopback's.
func (l *listener) rank(to netip.AddrPort) int {
	r := 0
	if to.Addr().Unmap().Is6() != l.real.Addr().Is6() {
		r += 1
	}
	if l.real.Addr().IsLoopback() {
		r += 2
	}
	return r
}

// deliverTo connects from a port that is known as from's before the first packet leaves, so that no accept can see an
// unknown peer.
func (s *Supervisor) deliverTo(ctx context.Context, l *listener, from, to netip.AddrPort) (splice.Conn, error) {
	in := &incoming{from: unmapped(from), to: unmapped(to)}
	var registered netip.AddrPort
	network, dst := "tcp4", netip.AddrPortFrom(l.real.Addr(), l.real.Port())
	if dst.Addr().IsUnspecified() {
		dst = netip.AddrPortFrom(loopback4, dst.Port())
		if l.six {
			dst = netip.AddrPortFrom(loopback6, dst.Port())
		}
	}
	if dst.Addr().Is6() {
		network = "tcp6"
	}
	dialer := net.Dialer{KeepAlive: -1, ControlContext: func(_ context.Context, _, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error {
			if err := bindSource(fd, dst.Addr()); err != nil {
				return err
			}
			registered = localName(fd)
			s.mu.Lock()
			s.incoming[registered] = in
			s.noteKnown()
			s.mu.Unlock()
			return nil
		})
	}}
	conn, err := dialer.DialContext(ctx, network, dst.String())
	if err != nil {
		if registered.IsValid() {
			in.end()
		}
		return nil, err
	}
	return &delivered{TCPConn: conn.(*net.TCPConn), over: in.end}, nil
}

// bindSource binds one of our sockets to a free port of a source address for dst.
func bindSource(fd int, dst netip.Addr) (err error) {
	if !dst.IsLoopback() || dst.Is6() {
		return bindTo(fd, netip.AddrPortFrom(dst, 0))
	}
	for i := range deliverSources {
		source := netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)})
		if err = bindTo(fd, netip.AddrPortFrom(source, 0)); !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
	return err
}

// end notes that the connection is over; the sweeper drops its names later.
func (in *incoming) end() {
	in.mu.Lock()
	in.ended = time.Now()
	in.mu.Unlock()
}

func unmapped(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// delivered is our end of a connection into the debuggee.
type delivered struct {
	*net.TCPConn
	once sync.Once
	over func()
}

func (d *delivered) Close() error {
	d.once.Do(d.over)
	return d.TCPConn.Close()
}

// Reset closes it so that the debuggee sees a reset.
func (d *delivered) Reset() {
	d.once.Do(d.over)
	splice.Reset(d.TCPConn)
}
