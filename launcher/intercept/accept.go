//go:build linux

package intercept

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// accept takes a connection of the debuggee's and shows the true peer. An accept that does not ask for the peer never
// comes here, and getpeername has it right then.
func (s *Supervisor) accept(c *call, flags int) {
	fd, err := c.dup()
	if err != nil {
		c.carryOn()
		return
	}
	l := s.findListener(cookie(fd))
	if l == nil || flags&^(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) != 0 {
		c.carryOn()
		return
	}
	if at, err := c.place(); err == nil {
		l.seen(at)
	}
	if !nonblocking(fd) {
		if !s.start(func() { s.acceptBlocking(c, l, fd, flags, deadline(fd)) }) {
			c.fail(unix.ECONNABORTED)
		}
		return
	}
	conn, errno := l.take(fd, flags)
	if errno != 0 {
		c.fail(errno)
		return
	}
	c.release()
	if !s.start(func() { s.deliverAccepted(c, l, conn, flags) }) {
		l.putBack(conn)
		c.fail(unix.ECONNABORTED)
	}
}

// acceptBlocking takes a connection or parks the call until there is one.
func (s *Supervisor) acceptBlocking(c *call, l *listener, fd, flags int, until time.Time) {
	l.accepting.Lock()
	ready := l.stashed() || readable(fd)
	if !ready {
		l.accepting.Unlock()
		s.waits.park(&parked{c: c, fd: fd, deadline: until, try: func() { s.acceptBlocking(c, l, fd, flags, until) }})
		return
	}
	conn, errno := l.take(fd, flags)
	l.accepting.Unlock()
	if errno != 0 {
		c.fail(errno)
		return
	}
	c.release()
	s.deliverAccepted(c, l, conn, flags)
}

// deliverAccepted writes the peer's address and installs the connection in the debuggee. When the call is gone, the
// next accept gets the connection.
func (s *Supervisor) deliverAccepted(c *call, l *listener, conn accepted, flags int) {
	if !c.waiting() {
		l.putBack(conn)
		return
	}
	domain := option(conn.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	sa, ok := encodeSockaddr(domain, s.incomingName(conn.peer, cookie(conn.fd), peerName))
	if !ok {
		sa, _ = encodeSockaddr(domain, conn.peer)
	}
	if err := c.writeSockaddr(c.arg(1), c.arg(2), sa); err != nil {
		_ = unix.Close(conn.fd) // as the kernel does
		c.fail(errnoOf(err))
		return
	}
	switch err := c.hand(conn.fd, flags&unix.SOCK_CLOEXEC != 0); {
	case err == nil:
		_ = unix.Close(conn.fd)
	case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE):
		l.putBack(conn)
		c.fail(errnoOf(err))
	default:
		s.log.Debug("accept interrupted; its connection waits for the next", zap.Error(err))
		l.putBack(conn)
	}
}

// accepted is a connection that was taken from a listener.
type accepted struct {
	fd int
	// peer is as accept had it: of a connection that was reset meanwhile, getpeername knows none.
	peer netip.AddrPort
}

// take accepts a connection, one that was put back first. On a blocking socket the caller knows that there is one.
func (l *listener) take(fd, flags int) (accepted, syscall.Errno) {
	l.mu.Lock()
	if len(l.stash) > 0 {
		conn := l.stash[0]
		l.stash = l.stash[1:]
		l.mu.Unlock()
		_ = unix.SetNonblock(conn.fd, flags&unix.SOCK_NONBLOCK != 0) // nobody else has it yet
		return conn, 0
	}
	l.mu.Unlock()
	return acceptRaw(fd, flags&unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
}

func (l *listener) putBack(conn accepted) {
	l.mu.Lock()
	l.stash = append(l.stash, conn)
	l.mu.Unlock()
}

func (l *listener) stashed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.stash) > 0
}
