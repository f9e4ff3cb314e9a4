//go:build linux

package intercept

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// connect lets the kernel make the connections that are this machine's and makes the pod's.
func (s *Supervisor) connect(ctx context.Context, c *call) {
	var buf [maxSockaddr]byte
	sa, err := c.readSockaddr(c.arg(1), c.arg(2), &buf)
	if err != nil {
		s.unreadable(c, err, c.arg(2))
		return
	}
	dst, ok := parseSockaddr(sa)
	if !ok {
		switch {
		case family(sa) == unix.AF_UNIX && s.opts.Rules.Resolver() && bypassesDNS(unixPath(sa)):
			c.fail(unix.ENOENT)
		case family(sa) == unix.AF_UNSPEC:
			s.dissolve(c)
		default:
			c.carryOn()
		}
		return
	}
	if !s.opts.Rules.TCP(dst) && !s.opts.Rules.UDP(dst) {
		s.elsewhere(c)
		return
	}
	fd, err := c.dup()
	if err != nil {
		s.unreadable(c, err, c.arg(2))
		return
	}
	domain := option(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	switch kind := option(fd, unix.SOL_SOCKET, unix.SO_TYPE); {
	case domain != unix.AF_INET && domain != unix.AF_INET6:
		c.carryOn() // the kernel refuses the family
	case kind == unix.SOCK_DGRAM && s.opts.Rules.UDP(dst):
		s.connectUDP(ctx, c, fd, domain, dst)
	case kind == unix.SOCK_DGRAM || kind == unix.SOCK_RAW:
		s.elsewhere(c)
	case family(sa) != domain:
		c.carryOn() // the kernel refuses the family
	case !s.opts.Rules.TCP(dst):
		c.carryOn()
	default:
		s.connectTCP(ctx, c, fd, domain, dst)
	}
}

// bypassesDNS reports whether path is a local service that the C library asks for names before or instead of DNS.
func bypassesDNS(path string) bool {
	switch path {
	case "/var/run/nscd/socket", "/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve":
		return true
	}
	return false
}

// unreadable answers a call whose destination, of n bytes, cannot be looked at. Where the kernel would fail too it may
// say so itself; where it would not, the packets would leave this machine.
func (s *Supervisor) unreadable(c *call, err error, n uint64) {
	kernels := errors.Is(err, unix.EFAULT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBADF) || errors.Is(err, unix.ESRCH)
	if kernels || n < minInet4 || !s.opts.Rules.Unreadable() {
		c.carryOn()
		return
	}
	s.log.Warn("process may not be looked into; its connection is refused", zap.Uint32("task", c.Pid), zap.Error(err))
	c.fail(unix.EHOSTUNREACH)
}

// elsewhere lets the kernel connect to an address of this machine's. A socket of the pod's goes on as it is when it is
// connected or being connected, for the kernel refuses then; and one whose last connect failed has that to tell first.
func (s *Supervisor) elsewhere(c *call) {
	fd, o, a := s.ours(c)
	if o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if s.tellFailedLocked(o, c, fd) {
			return
		}
		if !o.ended.IsZero() {
			s.drop(o, nil)
		}
	}
	s.drop(nil, a)
	c.carryOn()
}

// dissolve ends what is known of a socket that connects to AF_UNSPEC, which dissolves its association.
func (s *Supervisor) dissolve(c *call) {
	_, o, a := s.ours(c)
	s.drop(o, a)
	if o != nil {
		o.mu.Lock()
		s.abandonLocked(o, unix.ECONNABORTED)
		o.mu.Unlock()
	}
	c.carryOn()
}

// ours is what is known of the socket that c is about.
func (s *Supervisor) ours(c *call) (fd int, o *outgoing, a *asker) {
	if s.known.Load() == 0 {
		return -1, nil, nil
	}
	fd, err := c.dup()
	if err != nil {
		return -1, nil, nil
	}
	k := cookie(fd)
	s.mu.Lock()
	defer s.mu.Unlock()
	return fd, s.outgoing[k], s.askers[k]
}

// drop forgets o and a, each of which may be nil.
func (s *Supervisor) drop(o *outgoing, a *asker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o != nil && s.outgoing[o.cookie] == o {
		delete(s.outgoing, o.cookie)
	}
	if a != nil && s.askers[a.cookie] == a {
		s.forgetAskerLocked(a)
	}
	s.noteKnown()
}

// connectTCP connects a stream socket to dst by the pod. The kernel's own state machine answers whatever it can:
// EALREADY, EISCONN, EADDRNOTAVAIL and the 0 of a second connect.
func (s *Supervisor) connectTCP(ctx context.Context, c *call, fd, domain int, dst netip.AddrPort) {
	if device, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE); err == nil && device != "" && device != "lo" {
		c.fail(unix.EHOSTUNREACH) // it cannot be led to loopback
		return
	}
	protocol := option(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_MPTCP {
		c.fail(unix.EHOSTUNREACH)
		return
	}
	o := s.findOutgoing(cookie(fd))
	if o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if s.tellFailedLocked(o, c, fd) {
			return
		}
	}
	if protocol == unix.IPPROTO_MPTCP {
		s.connectMPTCP(ctx, c, fd, o, dst)
		return
	}
	door, sa, errno := s.doors.choose(fd, domain)
	if errno != 0 {
		c.fail(errno)
		return
	}
	// A SYN that waits for the first write would leave connect without a verdict.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 0)
	blocking := !nonblocking(fd)
	errno = connectNow(fd, sa)
	if errno == unix.EINPROGRESS {
		at, err := c.place()
		if err != nil {
			c.fail(unix.EHOSTUNREACH)
			return
		}
		s.begin(ctx, c, &outgoing{cookie: cookie(fd), remote: dst, door: door, doorSA: sa, real: localName(fd), at: at}, fd, blocking)
		return
	}
	if o == nil {
		c.fail(errno)
		return
	}
	switch {
	case errno == unix.EALREADY && blocking && o.dialing:
		late := unix.EALREADY
		if o.untold {
			late = unix.EINPROGRESS
		}
		o.waitLocked(c, fd, late)
		return
	case errno == unix.EALREADY && o.untold:
		errno = unix.EINPROGRESS
	case errno == unix.EISCONN && o.untold:
		errno = 0
	}
	o.untold = !c.fail(errno)
}

// tellFailedLocked answers a further connect on a socket whose last one failed: it fetches the error, as from the kernel,
// or ECONNABORTED when SO_ERROR has fetched it (inet_stream_connect in net/ipv4/af_inet.c). False: there is nothing to tell.
func (s *Supervisor) tellFailedLocked(o *outgoing, c *call, fd int) bool {
	switch {
	case o.failed != 0:
		option(fd, unix.SOL_SOCKET, unix.SO_ERROR) // clears the kernel's own
		if c.fail(o.failed) {
			s.setFailed(o, 0)
		}
	case o.fetched:
		o.fetched = !c.fail(unix.ECONNABORTED)
	default:
		return false
	}
	return true
}

// begin starts the dial for a socket that was just connected to its door. A blocking connect waits for the verdict, any
// other is told that it is under way.
func (s *Supervisor) begin(ctx context.Context, c *call, o *outgoing, fd int, wait bool) {
	ctx, o.cancel = context.WithCancel(ctx)
	o.dialing = true
	o.local = s.ownAddress(o.remote.Addr(), o.real.Port())
	o.mu.Lock()
	defer o.mu.Unlock()
	s.mu.Lock()
	s.outgoing[o.cookie] = o
	s.noteKnown()
	s.mu.Unlock()
	if !s.start(func() { s.dial(ctx, o) }) {
		o.cancel()
		c.fail(unix.EHOSTUNREACH)
		return
	}
	if wait {
		o.untold = true // until the verdict: an interrupted connect comes again
		o.waitLocked(c, fd, unix.EINPROGRESS)
	} else {
		o.untold = !c.fail(unix.EINPROGRESS)
	}
}

// waitLocked parks a connect until the verdict, or until the socket's send timeout, which is connect's too (socket(7)) and
// answered by late.
func (o *outgoing) waitLocked(c *call, fd int, late syscall.Errno) {
	timeout := socketTimeout(fd, unix.SO_SNDTIMEO)
	c.release()
	o.blocked = slices.DeleteFunc(o.blocked, func(c *call) bool { return !c.waiting() })
	o.blocked = append(o.blocked, c)
	if timeout > 0 {
		time.AfterFunc(timeout, func() { o.tellTimeout(c, late) })
	}
}

func (o *outgoing) tellTimeout(c *call, late syscall.Errno) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := slices.Index(o.blocked, c); i >= 0 {
		o.blocked = slices.Delete(o.blocked, i, i+1)
		o.untold = !c.fail(late)
	}
}

// ownAddress is what a socket to a remote address shows as its own until the pod has told better. Zero: the kernel's.
func (s *Supervisor) ownAddress(remote netip.Addr, port uint16) netip.AddrPort {
	for _, a := range s.opts.Addresses {
		if a.Unmap().Is4() == remote.Is4() {
			return netip.AddrPortFrom(a.Unmap(), port)
		}
	}
	return netip.AddrPort{}
}
