//go:build linux

package intercept

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// end is which of a socket's two names is asked for.
type end bool

const (
	ownName  end = false
	peerName end = true
)

// name answers getsockname and getpeername with what the pod's kernel would say.
func (s *Supervisor) name(c *call, which end) {
	if s.known.Load() == 0 {
		c.carryOn()
		return
	}
	fd, err := c.dup()
	if err != nil {
		c.carryOn()
		return
	}
	domain := option(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	sa, ok := encodeSockaddr(domain, s.nameOf(fd, which))
	if !ok {
		c.carryOn()
		return
	}
	c.fail(errnoOf(c.writeSockaddr(c.arg(1), c.arg(2), sa)))
}

// nameOf is the name to tell, or zero when the kernel's is right.
func (s *Supervisor) nameOf(fd int, which end) netip.AddrPort {
	k := cookie(fd)
	peer, errno := remoteName(fd)
	s.mu.Lock()
	o, a, l := s.outgoing[k], s.askers[k], s.listeners[k]
	s.mu.Unlock()
	switch {
	case which == peerName && errno != 0: // the kernel says ENOTCONN
		return netip.AddrPort{}
	case o != nil:
		o.mu.Lock()
		defer o.mu.Unlock()
		if which == peerName {
			return o.remote
		}
		return o.local
	case a != nil:
		return a.name(which)
	case l != nil:
		return l.name()
	case errno == 0:
		return s.incomingName(peer, k, which)
	}
	return netip.AddrPort{}
}

// socketError answers getsockopt(SO_ERROR) with the pod's errno of a connect that failed.
func (s *Supervisor) socketError(c *call) {
	if s.failed.Load() == 0 {
		c.carryOn()
		return
	}
	fd, err := c.dup()
	if err != nil {
		c.carryOn()
		return
	}
	o := s.findOutgoing(cookie(fd))
	if o == nil {
		c.carryOn()
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed == 0 {
		c.carryOn()
		return
	}
	if errno := c.writeInt(c.arg(3), c.arg(4), int32(o.failed)); errno != 0 {
		c.fail(errno)
		return
	}
	option(fd, unix.SOL_SOCKET, unix.SO_ERROR) // clears the kernel's own
	if c.result(0) {
		s.setFailed(o, 0)
		o.fetched = !o.verdict
	}
}

// writeInt stores an option's value as getsockopt does: cut to the room there is.
func (c *call) writeInt(ptr, lenptr uint64, v int32) syscall.Errno {
	var room int32
	if err := c.read(lenptr, bytesOf(&room)); err != nil {
		return unix.EFAULT
	}
	if room < 0 {
		return unix.EINVAL
	}
	room = min(room, 4)
	if c.write(ptr, bytesOf(&v)[:room]) != nil || c.write(lenptr, bytesOf(&room)) != nil {
		return unix.EFAULT
	}
	return 0
}

// uname tells the target's hostname.
func (s *Supervisor) uname(c *call) {
	if s.opts.Hostname == "" {
		c.carryOn()
		return
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		c.carryOn()
		return
	}
	clear(u.Nodename[:])
	copy(u.Nodename[:len(u.Nodename)-1], s.opts.Hostname)
	if err := c.write(c.arg(0), bytesOf(&u)); err != nil {
		c.carryOn()
		return
	}
	c.result(0)
}
