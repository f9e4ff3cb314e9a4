//go:build unix

package tunnel

import (
	"syscall"

	"podstep.dev/internal/splice"
)

// quiet reports whether nothing has come on an idle connection, not even its end. A watch hears of it later: the runtime
// asks the kernel only now and then. Of what is no socket nothing is known.
func quiet(conn splice.Conn) bool {
	n, known, err := peek(conn)
	return !known || n < 0 && err == syscall.EAGAIN
}

// ended reports whether a connection is over and nothing of it is unread. Of what is no socket it is not known.
func ended(conn splice.Conn) bool {
	n, known, err := peek(conn)
	return known && (n == 0 || n < 0 && err != syscall.EAGAIN)
}

// peek says how many bytes can be read at once, at most one, or why none can. known is false of what is no socket.
func peek(conn splice.Conn) (n int, known bool, err error) {
	if s, ok := conn.(*secured); ok {
		conn = s.below
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return 0, false, nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1, true, err
	}
	// Not raw.Read, which would wait for who reads.
	var peeked error
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, peeked = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	if err != nil {
		return -1, true, err
	}
	return n, true, peeked
}
