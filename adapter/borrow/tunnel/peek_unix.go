//go:build unix

package tunnel

import (
	"syscall"

	"podstep.dev/internal/splice"
)

// quiet reports whether nothing has come on an idle connection, not even its end. A watch hears of it later: the runtime
// asks the kernel only now and then. Of what is no socket nothing is known.
func quiet(conn splice.Conn) bool {
	if s, ok := conn.(*secured); ok {
		conn = s.below
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	// Not raw.Read, which would wait for the watch.
	var peeked error
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, peeked = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && peeked == syscall.EAGAIN
}
