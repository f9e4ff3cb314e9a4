//go:build linux

package intercept

import (
	"context"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// announceTimeout bounds how long listen waits for Options.Listening.
const announceTimeout = 2 * time.Second

// bind gives the debuggee the port that it asks for, or another one that passes for it when this machine has it in use
// or keeps it for root.
func (s *Supervisor) bind(c *call) {
	var buf [maxSockaddr]byte
	sa, err := c.readSockaddr(c.arg(1), c.arg(2), &buf)
	if err != nil {
		c.carryOn()
		return
	}
	want, ok := parseSockaddr(sa)
	if !ok || want.Addr().IsLinkLocalUnicast() { // that has a scope id, and others of the pod's network cannot mean it
		c.carryOn()
		return
	}
	fd, err := c.dup()
	if err != nil {
		c.carryOn()
		return
	}
	domain := option(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	pods := slices.ContainsFunc(s.opts.Addresses, func(a netip.Addr) bool { return a.Unmap() == want.Addr() })
	if family(sa) != domain { // the kernel's to judge; only AF_INET on AF_INET is the pod's
		c.carryOn()
		return
	}
	switch option(fd, unix.SOL_SOCKET, unix.SO_TYPE) {
	case unix.SOCK_STREAM:
		s.bindTCP(c, fd, domain, want, pods)
	case unix.SOCK_DGRAM:
		if !pods {
			c.carryOn()
			return
		}
		c.fail(rawBind(fd, wildcard(sa, want)))
	default:
		c.carryOn()
	}
}

// wildcard is sa with the unspecified address of its kind: an IPv4 address on an AF_INET6 socket stays one.
func wildcard(sa []byte, want netip.AddrPort) []byte {
	out, _ := encodeSockaddr(family(sa), netip.AddrPortFrom(anyOf(want.Addr()), want.Port()))
	return out
}

func (s *Supervisor) bindTCP(c *call, fd, domain int, want netip.AddrPort, pods bool) {
	s.waits.check() // a call that was interrupted may hold the port still
	at, err := c.place()
	if err != nil {
		c.carryOn()
		return
	}
	asked := want
	if pods {
		asked = netip.AddrPortFrom(anyOf(want.Addr()), want.Port())
	}
	l := &listener{
		cookie: cookie(fd), want: want, at: at, since: time.Now(),
		shared: option(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT) == 1, six: takesSixOnly(fd, want.Addr()),
	}
	errno := s.bindReal(fd, domain, asked, l)
	if errno == 0 {
		l.real = localName(fd)
		if want.Port() == 0 {
			l.want = netip.AddrPortFrom(want.Addr(), l.real.Port())
		}
		s.keepListener(l)
		if l.want.Port() != l.real.Port() {
			s.log.Info("another port stands in", zap.Uint16("wanted", l.want.Port()), zap.Uint16("real", l.real.Port()))
		}
	}
	if errno == unix.EINVAL { // bound already: is this the call that was interrupted, come again?
		if old := s.findListener(l.cookie); old != nil && old.toldAgain(want) {
			errno, l = 0, old
		}
	}
	if !c.fail(errno) && errno == 0 {
		l.mu.Lock()
		l.untold = true
		l.mu.Unlock()
	}
}

// bindReal binds fd. A wanted port that others have, or that is root's, is replaced; one that the debuggee has itself
// is busy as in the pod. Loopback stays this machine's.
func (s *Supervisor) bindReal(fd, domain int, asked netip.AddrPort, l *listener) syscall.Errno {
	to := func(port uint16) syscall.Errno {
		sa, ok := encodeSockaddr(domain, netip.AddrPortFrom(asked.Addr(), port))
		if !ok {
			return unix.EAFNOSUPPORT
		}
		return rawBind(fd, sa)
	}
	if asked.Port() == 0 || asked.Addr().IsLoopback() {
		return to(asked.Port())
	}
	for _, other := range s.listenersFor(asked.Port()) {
		if other.cookie == l.cookie || !l.overlaps(other) || other.real.Port() == asked.Port() {
			continue // the last: the kernel judges by itself
		}
		if !other.alive() {
			s.forgetListener(other)
			continue
		}
		if other.shared && l.shared {
			return to(other.real.Port())
		}
		return unix.EADDRINUSE
	}
	errno := to(asked.Port())
	if errno == unix.EACCES || errno == unix.EADDRINUSE && !s.holds(asked, l) {
		return to(0)
	}
	return errno
}

// holds reports whether the debuggee itself has a socket on the address: then it is busy for it in the pod too.
func (s *Supervisor) holds(asked netip.AddrPort, l *listener) bool {
	for _, other := range s.listenersFor(asked.Port()) {
		if other.cookie == l.cookie || !l.overlaps(other) {
			continue
		}
		if other.alive() {
			return true
		}
		s.forgetListener(other)
	}
	return false
}

// listen makes the socket listen and tells which port the debuggee serves, before the debuggee goes on.
func (s *Supervisor) listen(ctx context.Context, c *call) {
	fd, err := c.dup()
	if err != nil {
		c.carryOn()
		return
	}
	domain := option(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if domain != unix.AF_INET && domain != unix.AF_INET6 || option(fd, unix.SOL_SOCKET, unix.SO_TYPE) != unix.SOCK_STREAM {
		c.carryOn()
		return
	}
	if err := unix.Listen(fd, int(int32(uint32(c.arg(1))))); err != nil {
		c.fail(errnoOf(err))
		return
	}
	at, err := c.place()
	if err != nil {
		c.fail(0)
		return
	}
	l := s.findListener(cookie(fd))
	if l == nil {
		real := localName(fd)
		l = &listener{cookie: cookie(fd), want: real, real: real, since: time.Now(), six: takesSixOnly(fd, real.Addr())}
	}
	l.seen(at)
	l.mu.Lock()
	l.listening = true
	first := l.announced == nil
	if first {
		l.announced = make(chan struct{})
	}
	l.mu.Unlock()
	s.keepListener(l)
	if s.opts.Listening == nil || l.real.Addr().IsLoopback() {
		c.fail(0)
		return
	}
	c.release()
	if !s.start(func() { s.announce(ctx, c, l, first) }) {
		c.fail(0)
	}
}

// announce tells of the listener once, and answers every listen on it when that is done.
func (s *Supervisor) announce(ctx context.Context, c *call, l *listener, first bool) {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	if first {
		s.start(func() {
			defer close(l.announced)
			s.opts.Listening(ctx, l.want.Port())
		})
	}
	select {
	case <-l.announced:
	case <-ctx.Done():
		s.log.Warn("listen goes on before its port is served", zap.Uint16("port", l.want.Port()))
	}
	c.fail(0)
}
