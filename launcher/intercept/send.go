//go:build linux

package intercept

import (
	"context"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxPayload is the largest UDP datagram over IPv4.
const maxPayload = 65507

// maxMessages is how many messages one sendmmsg sends at most (UIO_MAXIOV of linux/uio.h), and maxIovecs how many
// pieces one has.
const (
	maxMessages = 1024
	maxIovecs   = 1024
)

// msghdr is struct user_msghdr of a 64-bit kernel; mmsghdr is struct mmsghdr.
type msghdr struct {
	Name       uint64
	Namelen    uint32
	_          uint32
	Iov        uint64
	Iovlen     uint64
	Control    uint64
	Controllen uint64
	Flags      int32
	_          uint32
}

type mmsghdr struct {
	msghdr
	Len uint32
	_   uint32
}

const (
	sizeofMsghdr  = 56
	sizeofMmsghdr = 64
)

type iovec struct{ Base, Len uint64 }

// sendto sends a question to a resolver by the pod. Every other datagram is the kernel's.
func (s *Supervisor) sendto(ctx context.Context, c *call) {
	dst, ours, err := s.podsDestination(c, c.arg(4), c.arg(5))
	if err != nil {
		s.unreadable(c, err, c.arg(5))
		return
	}
	if !ours {
		c.carryOn()
		return
	}
	fd, err := c.dup()
	if err != nil {
		s.unreadable(c, err, c.arg(5))
		return
	}
	if !s.isDatagram(c, fd, dst, int(c.arg(3))) {
		return
	}
	n := c.arg(2)
	if n > maxPayload {
		c.fail(unix.EMSGSIZE)
		return
	}
	question := make([]byte, n)
	if c.read(c.arg(1), question) != nil {
		c.fail(unix.EFAULT)
		return
	}
	if errno := s.send(ctx, c, fd, dst, question); errno != 0 {
		c.fail(errno)
		return
	}
	c.result(int(n))
}

// podsDestination reads a destination and says whether the pod has to do with it.
func (s *Supervisor) podsDestination(c *call, ptr, n uint64) (dst netip.AddrPort, ours bool, err error) {
	var buf [maxSockaddr]byte
	sa, err := c.readSockaddr(ptr, n, &buf)
	if err != nil {
		return dst, false, err
	}
	dst, ok := parseSockaddr(sa)
	return dst, ok && (s.opts.Rules.UDP(dst) || s.opts.Rules.TCP(dst)), nil
}

// isDatagram reports whether the socket sends datagrams to a resolver; else it answers the call. A stream socket's
// destination makes sense with MSG_FASTOPEN only, and then it is a connect in disguise.
func (s *Supervisor) isDatagram(c *call, fd int, dst netip.AddrPort, flags int) bool {
	switch kind := option(fd, unix.SOL_SOCKET, unix.SO_TYPE); {
	case kind == unix.SOCK_DGRAM && s.opts.Rules.UDP(dst):
		return true
	case kind == unix.SOCK_STREAM && flags&unix.MSG_FASTOPEN != 0:
		c.fail(unix.EOPNOTSUPP) // the caller connects then
	default:
		c.carryOn()
	}
	return false
}

// send asks the pod; the answer comes back to the socket from the resolver's stand-in.
func (s *Supervisor) send(ctx context.Context, c *call, fd int, dst netip.AddrPort, question []byte) syscall.Errno {
	t, err := s.standInFor(ctx, dst)
	if err != nil {
		return unix.ENETUNREACH
	}
	if _, err := s.askerFor(c, fd); err != nil {
		return errnoOf(err)
	}
	to, errno := autobind(fd, option(fd, unix.SOL_SOCKET, unix.SO_DOMAIN))
	if errno != 0 {
		return errno
	}
	conn := t.four
	if to.Addr().Is6() {
		conn = t.six
	}
	if conn == nil {
		return unix.ENETUNREACH
	}
	s.answer(ctx, t, question, conn, to)
	return 0
}

// sendmsg looks at the destination only: it costs a read of the header where there is none.
func (s *Supervisor) sendmsg(ctx context.Context, c *call) {
	var h msghdr
	if c.read(c.arg(1), bytesOf(&h)) != nil || h.Name == 0 {
		c.carryOn()
		return
	}
	fd, dst, ok := s.messageSocket(c, &h, int(c.arg(2)))
	if !ok {
		return
	}
	question, errno := c.gather(&h)
	if errno == 0 {
		errno = s.send(ctx, c, fd, dst, question)
	}
	if errno != 0 {
		c.fail(errno)
		return
	}
	c.result(len(question))
}

// messageSocket returns the socket for a message to a resolver; else it answers the call.
func (s *Supervisor) messageSocket(c *call, h *msghdr, flags int) (fd int, dst netip.AddrPort, ok bool) {
	dst, ours, err := s.podsDestination(c, h.Name, uint64(h.Namelen))
	if err != nil || !ours {
		c.carryOn()
		return -1, dst, false
	}
	fd, err = c.dup()
	if err != nil {
		s.unreadable(c, err, uint64(h.Namelen))
		return -1, dst, false
	}
	return fd, dst, s.isDatagram(c, fd, dst, flags)
}

// sendmmsg sends the messages before the first one that is the kernel's; the caller comes again with the rest, as it
// must (sendmmsg(2)).
func (s *Supervisor) sendmmsg(ctx context.Context, c *call) {
	sent := 0
	for ; sent < int(min(c.arg(2), maxMessages)); sent++ {
		at := c.arg(1) + uint64(sent)*sizeofMmsghdr
		var h mmsghdr
		if c.read(at, bytesOf(&h)) != nil || h.Name == 0 {
			break
		}
		if dst, ours, err := s.podsDestination(c, h.Name, uint64(h.Namelen)); sent > 0 && (err != nil || !ours || !s.opts.Rules.UDP(dst)) {
			break
		}
		fd, dst, ok := s.messageSocket(c, &h.msghdr, int(c.arg(3)))
		if !ok {
			return
		}
		question, errno := c.gather(&h.msghdr)
		if errno == 0 {
			errno = s.send(ctx, c, fd, dst, question)
		}
		c.release()
		if errno != 0 && sent == 0 {
			c.fail(errno)
			return
		}
		n := uint32(len(question))
		if errno != 0 || c.write(at+sizeofMsghdr, bytesOf(&n)) != nil {
			break
		}
	}
	if sent == 0 {
		c.carryOn()
		return
	}
	c.result(sent)
}

// iovecs reads a message's pieces.
func (c *call) iovecs(h *msghdr) ([]iovec, syscall.Errno) {
	if h.Iovlen > maxIovecs {
		return nil, unix.EMSGSIZE
	}
	v := make([]iovec, h.Iovlen)
	for i := range v {
		if c.read(h.Iov+uint64(i)*16, bytesOf(&v[i])) != nil {
			return nil, unix.EFAULT
		}
	}
	return v, 0
}

// gather reads a message's payload.
func (c *call) gather(h *msghdr) ([]byte, syscall.Errno) {
	pieces, errno := c.iovecs(h)
	if errno != 0 {
		return nil, errno
	}
	var b []byte
	for _, p := range pieces {
		if p.Len > maxPayload || len(b)+int(p.Len) > maxPayload {
			return nil, unix.EMSGSIZE
		}
		n := len(b)
		b = append(b, make([]byte, p.Len)...)
		if c.read(p.Base, b[n:]) != nil {
			return nil, unix.EFAULT
		}
	}
	return b, 0
}
