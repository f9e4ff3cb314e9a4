//go:build linux

package intercept

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// connectMPTCP holds a connect until the verdict, non-blocking ones too: an MPTCP socket takes no part in a
// simultaneous open. It holds o.mu when o is not nil.
func (s *Supervisor) connectMPTCP(ctx context.Context, c *call, fd int, o *outgoing, dst netip.AddrPort) {
	_, errno := remoteName(fd)
	switch {
	case o != nil && o.dialing:
		o.waitLocked(c, fd, unix.EINPROGRESS)
	case o != nil && o.untold:
		o.untold = !c.fail(0)
	case errno == 0:
		c.fail(unix.EISCONN)
	default:
		at, err := c.place()
		if err != nil {
			c.fail(unix.EHOSTUNREACH)
			return
		}
		o := &outgoing{cookie: cookie(fd), remote: dst, real: localName(fd), at: at, verdict: true}
		s.begin(ctx, c, o, fd, true)
	}
}

// completeMPTCP connects the debuggee's socket to a listener made for it alone, and answers.
func (s *Supervisor) completeMPTCP(ctx context.Context, o *outgoing) (*net.TCPConn, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dialing, o.enters = false, false
	inner, nonblock, err := o.joinListener(ctx)
	if err != nil {
		s.log.Debug("connection gone", zap.Stringer("to", o.remote), zap.Error(err))
		s.abandonLocked(o, unix.ECONNABORTED)
		return nil, false
	}
	if nonblock {
		o.answerLocked(unix.EINPROGRESS)
	} else {
		o.untold = !o.answerLocked(0)
	}
	return inner, true
}

func (o *outgoing) joinListener(ctx context.Context) (conn *net.TCPConn, nonblock bool, err error) {
	fd, err := o.again()
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = unix.Close(fd) }()
	domain, addr := option(fd, unix.SOL_SOCKET, unix.SO_DOMAIN), loopback4
	if domain == unix.AF_INET6 && onlySix(fd) {
		addr = loopback6
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		return nil, false, fmt.Errorf("listen for an MPTCP socket: %w", err)
	}
	defer func() { _ = l.Close() }()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	_ = l.SetDeadline(time.Now().Add(enterTimeout))
	sa, _ := encodeSockaddr(domain, l.Addr().(*net.TCPAddr).AddrPort())
	if errno := connectRaw(fd, sa); errno != 0 && errno != unix.EINPROGRESS {
		return nil, false, errno
	}
	real := localName(fd)
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			return nil, false, fmt.Errorf("accept an MPTCP socket: %w", err)
		}
		if from := conn.RemoteAddr().(*net.TCPAddr).AddrPort(); from.Port() == real.Port() && from.Addr().Unmap() == real.Addr() {
			return conn, nonblocking(fd), nil
		}
		_ = conn.Close() // a stranger on this machine
	}
}
