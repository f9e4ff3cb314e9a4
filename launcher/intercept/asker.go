//go:build linux

package intercept

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// maxQuestions is how many questions of one resolver may be under way; more are dropped, as UDP may.
const maxQuestions = 256

// asker is a UDP socket of the debuggee that asks a resolver.
type asker struct {
	cookie uint64
	port   uint16 // its local one once it is connected; under the supervisor's mu

	mu     sync.Mutex
	at     place
	remote netip.AddrPort // the resolver it is connected to; zero: it is not connected to one
	local  netip.AddrPort // what getsockname tells; zero: the kernel's
	used   time.Time
	stash  []datagram // received, but the call was interrupted
}

// datagram is what one receive call got.
type datagram struct {
	data    []byte
	size    int // of the datagram, which may be longer than data
	control []byte
	flags   int
	from    netip.AddrPort // the real source
}

func (a *asker) name(which end) netip.AddrPort {
	a.mu.Lock()
	defer a.mu.Unlock()
	if which == peerName {
		return a.remote
	}
	return a.local
}

// standIn is a resolver's place on loopback: the debuggee's sockets send to it and get the answers from it.
type standIn struct {
	remote    netip.AddrPort
	four, six *net.UDPConn // six is nil without an IPv6 loopback
	under     chan struct{}
}

func openStandIn(remote netip.AddrPort) (*standIn, error) {
	four, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback4, 0)))
	if err != nil {
		return nil, fmt.Errorf("stand in for resolver %s: %w", remote, err)
	}
	t := &standIn{remote: remote, four: four, under: make(chan struct{}, maxQuestions)}
	if six, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback6, 0))); err == nil {
		t.six = six
	}
	return t, nil
}

func (t *standIn) close() {
	_ = t.four.Close()
	if t.six != nil {
		_ = t.six.Close()
	}
}

// at is the stand-in's address for an IPv4 or an IPv6 socket.
func (t *standIn) at(six bool) (netip.AddrPort, bool) {
	if !six {
		return t.four.LocalAddr().(*net.UDPAddr).AddrPort(), true
	}
	if t.six == nil {
		return netip.AddrPort{}, false
	}
	return t.six.LocalAddr().(*net.UDPAddr).AddrPort(), true
}

// standInFor returns the stand-in for a resolver, of which there are few, made at its first use.
func (s *Supervisor) standInFor(ctx context.Context, remote netip.AddrPort) (*standIn, error) {
	s.mu.Lock()
	t := s.standIns[remote]
	s.mu.Unlock()
	if t != nil {
		return t, nil
	}
	t, err := openStandIn(remote)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if other := s.standIns[remote]; other != nil || s.closed {
		s.mu.Unlock()
		t.close()
		if other == nil {
			return nil, ErrClosed
		}
		return other, nil
	}
	s.standIns[remote] = t
	for _, conn := range []*net.UDPConn{t.four, t.six} {
		if conn != nil {
			s.work.Go(func() { s.serveStandIn(ctx, t, conn) })
		}
	}
	s.mu.Unlock()
	return t, nil
}

// serveStandIn answers the datagrams of connected sockets, which their kernel sends here, until Close.
func (s *Supervisor) serveStandIn(ctx context.Context, t *standIn, conn *net.UDPConn) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if s.isClosing() {
				return
			}
			continue // an ICMP error of an asker that is gone
		}
		if !s.isAsker(unmapped(from)) {
			continue // some other program on this machine
		}
		s.answer(ctx, t, append([]byte(nil), buf[:n]...), conn, from)
	}
}

// answer asks the pod and sends what it says to an asker, in a goroutine of its own.
func (s *Supervisor) answer(ctx context.Context, t *standIn, question []byte, conn *net.UDPConn, to netip.AddrPort) {
	select {
	case t.under <- struct{}{}:
	default:
		s.log.Warn("too many questions at once; one is dropped", zap.Stringer("resolver", t.remote))
		return
	}
	s.start(func() {
		defer func() { <-t.under }()
		if len(question) < 12 {
			return // no DNS message (RFC 1035 §4.1.1)
		}
		answer, err := s.dns.ask(ctx, question)
		if err != nil {
			s.log.Debug("no answer", zap.Stringer("resolver", t.remote), zap.Error(err))
			return
		}
		_, _ = conn.WriteToUDPAddrPort(answer, to)
	})
}

// isAsker reports whether a connected asker sends from this address.
func (s *Supervisor) isAsker(from netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.askersAt[from.Port()] > 0
}

// resolverAt is the resolver whose stand-in a datagram came from.
func (s *Supervisor) resolverAt(from netip.AddrPort) (netip.AddrPort, bool) {
	if !from.Addr().IsLoopback() {
		return from, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for remote, t := range s.standIns {
		if at, ok := t.at(from.Addr().Is6()); ok && at == from {
			return remote, true
		}
	}
	return from, false
}

// askerFor returns what is known of a UDP socket, made at its first use.
func (s *Supervisor) askerFor(c *call, fd int) (*asker, error) {
	at, err := c.place()
	if err != nil {
		return nil, err
	}
	k := cookie(fd)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.askers[k]
	if a == nil {
		a = &asker{cookie: k}
		s.askers[k] = a
		s.askersAt[0]++
		s.noteKnown()
	}
	a.mu.Lock()
	a.at, a.used = at, time.Now()
	a.mu.Unlock()
	return a, nil
}

func (s *Supervisor) findAsker(cookie uint64) *asker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.askers[cookie]
}

// forgetAskerLocked needs the supervisor's mu.
func (s *Supervisor) forgetAskerLocked(a *asker) {
	if s.askersAt[a.port]--; s.askersAt[a.port] <= 0 {
		delete(s.askersAt, a.port)
	}
	delete(s.askers, a.cookie)
	s.noteKnown()
}

// connectUDP connects a datagram socket to a resolver's stand-in.
func (s *Supervisor) connectUDP(ctx context.Context, c *call, fd, domain int, dst netip.AddrPort) {
	t, err := s.standInFor(ctx, dst)
	if err != nil {
		c.fail(unix.ENETUNREACH)
		return
	}
	at, ok := t.at(domain == unix.AF_INET6 && onlySix(fd))
	sa, fits := encodeSockaddr(domain, at)
	if !ok || !fits {
		c.fail(unix.ENETUNREACH)
		return
	}
	if errno := connectRaw(fd, sa); errno != 0 {
		c.fail(errno)
		return
	}
	a, err := s.askerFor(c, fd)
	if err != nil {
		c.fail(errnoOf(err))
		return
	}
	port := localName(fd).Port()
	s.mu.Lock()
	a.mu.Lock()
	s.askersAt[a.port]--
	s.askersAt[port]++
	a.port = port
	a.remote, a.local = dst, s.ownAddress(dst.Addr(), port)
	a.mu.Unlock()
	s.mu.Unlock()
	c.fail(0)
}

// autobind gives an unbound socket a port, as sending does, and returns where answers go.
func autobind(fd, domain int) (netip.AddrPort, syscall.Errno) {
	local := localName(fd)
	if local.Port() == 0 {
		unspecified := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		if domain == unix.AF_INET6 {
			unspecified = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
		}
		sa, _ := encodeSockaddr(domain, unspecified)
		if errno := rawBind(fd, sa); errno != 0 {
			return local, errno
		}
		local = localName(fd)
	}
	if local.Addr().IsUnspecified() {
		loopback := loopback4
		if domain == unix.AF_INET6 && onlySix(fd) {
			loopback = loopback6
		}
		local = netip.AddrPortFrom(loopback, local.Port())
	}
	return local, 0
}
