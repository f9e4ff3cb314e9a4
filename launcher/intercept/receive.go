//go:build linux

package intercept

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// maxControl is how much control data of a datagram is passed on.
const maxControl = 4096

// request is a receive call: where its datagram goes.
type request struct {
	s     *Supervisor
	c     *call
	a     *asker
	fd    int
	flags int
	size  int // room for data
	room  int // room for control data
	until time.Time
	// store writes the datagram to the debuggee and returns the call's result.
	store func(d datagram, source []byte) (int, error)
}

// receiver reports whether a receive call is about an asker: only those have sources to rewrite. Else it answers the
// call, which costs next to nothing while there is none.
func (s *Supervisor) receiver(c *call, flags int) (fd int, a *asker, ok bool) {
	if s.known.Load() == 0 || s.asking.Load() == 0 || flags&unix.MSG_ERRQUEUE != 0 {
		c.carryOn()
		return -1, nil, false
	}
	fd, err := c.dup()
	if err != nil {
		c.carryOn()
		return -1, nil, false
	}
	if a = s.findAsker(cookie(fd)); a == nil {
		c.carryOn()
		return -1, nil, false
	}
	return fd, a, true
}

// recvfrom receives for an asker and shows the resolver as the source.
func (s *Supervisor) recvfrom(c *call) {
	flags := int(c.arg(3))
	fd, a, ok := s.receiver(c, flags)
	if !ok {
		return
	}
	r := &request{s: s, c: c, a: a, fd: fd, flags: flags, size: int(min(c.arg(2), 1<<16))}
	r.store = func(d datagram, source []byte) (int, error) {
		if err := c.write(c.arg(1), d.data); err != nil {
			return 0, err
		}
		return d.result(flags), c.writeSockaddr(c.arg(4), c.arg(5), source)
	}
	r.begin()
}

// recvmsg is recvfrom with pieces and control data. A call that does not ask for the source is the kernel's.
func (s *Supervisor) recvmsg(c *call) {
	s.receiveMessage(c, int(c.arg(2)), func(int) error { return nil }, func(n int) int { return n })
}

// recvmmsg receives one message: the call may return fewer than there is room for.
func (s *Supervisor) recvmmsg(c *call) {
	stored := func(n int) error {
		length := uint32(n)
		return c.write(c.arg(1)+sizeofMsghdr, bytesOf(&length))
	}
	s.receiveMessage(c, int(c.arg(3))&^unix.MSG_WAITFORONE, stored, func(int) int { return 1 })
}

func (s *Supervisor) receiveMessage(c *call, flags int, stored func(n int) error, result func(n int) int) {
	fd, a, ok := s.receiver(c, flags)
	if !ok {
		return
	}
	var h msghdr
	if c.read(c.arg(1), bytesOf(&h)) != nil || h.Name == 0 {
		c.carryOn()
		return
	}
	pieces, errno := c.iovecs(&h)
	if errno != 0 {
		c.fail(errno)
		return
	}
	r := &request{s: s, c: c, a: a, fd: fd, flags: flags, room: int(min(h.Controllen, maxControl))}
	for _, p := range pieces {
		r.size = int(min(uint64(r.size)+min(p.Len, 1<<16), 1<<16))
	}
	r.store = func(d datagram, source []byte) (int, error) {
		if err := c.scatter(h, pieces, d, source); err != nil {
			return 0, err
		}
		n := d.result(flags)
		return result(n), stored(n)
	}
	r.begin()
}

// scatter writes a datagram into a message's pieces and its header.
func (c *call) scatter(h msghdr, pieces []iovec, d datagram, source []byte) error {
	rest := d.data
	for _, p := range pieces {
		n := int(min(p.Len, uint64(len(rest))))
		if err := c.write(p.Base, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if err := c.write(h.Name, source[:min(len(source), int(h.Namelen))]); err != nil {
		return err
	}
	if err := c.write(h.Control, d.control); err != nil {
		return err
	}
	h.Namelen, h.Controllen, h.Flags = uint32(len(source)), uint64(len(d.control)), int32(d.flags)
	return c.write(c.arg(1), bytesOf(&h))
}

// result is what a receive call returns: the datagram's own size with MSG_TRUNC, else what was stored.
func (d datagram) result(flags int) int {
	if flags&unix.MSG_TRUNC != 0 {
		return d.size
	}
	return len(d.data)
}

// begin receives at once, or parks a blocking call until there is something.
func (r *request) begin() {
	if r.flags&unix.MSG_DONTWAIT != 0 || nonblocking(r.fd) {
		if err := r.receive(); err != nil {
			r.c.fail(errnoOf(err))
		}
		return
	}
	r.until = deadline(r.fd)
	r.attempt()
}

func (r *request) attempt() {
	err := r.receive()
	if errors.Is(err, unix.EAGAIN) {
		r.s.waits.park(&parked{c: r.c, fd: r.fd, deadline: r.until, try: r.attempt})
	} else if err != nil {
		r.c.fail(errnoOf(err))
	}
}

// receive takes a datagram, one that was put back first, and answers with it. An error is the caller's to answer.
func (r *request) receive() error {
	d, err := r.take()
	if err != nil {
		return err
	}
	if source, ok := r.s.resolverAt(d.from); ok {
		d.from = source
	}
	source, ok := encodeSockaddr(option(r.fd, unix.SOL_SOCKET, unix.SO_DOMAIN), d.from)
	if !ok {
		return unix.EAFNOSUPPORT
	}
	n, err := r.store(d, source)
	if err != nil {
		return unix.EFAULT
	}
	if !r.c.result(n) && r.flags&unix.MSG_PEEK == 0 { // interrupted: the next receive gets it
		r.a.mu.Lock()
		r.a.stash = append(r.a.stash, d)
		r.a.mu.Unlock()
	}
	return nil
}

func (r *request) take() (datagram, error) {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	r.a.used = time.Now()
	if len(r.a.stash) > 0 {
		d := r.a.stash[0]
		if r.flags&unix.MSG_PEEK == 0 {
			r.a.stash = r.a.stash[1:]
		}
		return d.cut(r.size), nil
	}
	data, control := make([]byte, r.size), make([]byte, r.room)
	n, nc, flags, from, err := unix.Recvmsg(r.fd, data, control, r.flags|unix.MSG_DONTWAIT|unix.MSG_TRUNC)
	if err != nil {
		return datagram{}, err
	}
	d := datagram{data: data[:min(n, len(data))], size: n, control: control[:nc], flags: flags}
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		d.from = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		d.from = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return d, nil
}

// cut makes a datagram that was put back fit another buffer.
func (d datagram) cut(size int) datagram {
	if len(d.data) > size {
		d.data, d.flags = d.data[:size], d.flags|unix.MSG_TRUNC
	}
	return d
}
