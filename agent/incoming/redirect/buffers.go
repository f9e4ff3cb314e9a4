//go:build linux

package redirect

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Sizes of the kernel's buffers of a connection, in bytes as SO_RCVBUF and SO_SNDBUF have them; the kernel charges up to
// twice as much (socket(7)). They are the pod's memory too, and left alone would grow to megabytes for each client that
// floods what nobody reads.
const (
	// NarrowIn holds nearly what a first window allows (64 KiB), so that little of it is dropped and sent again.
	NarrowIn, NarrowOut = 32 << 10, 16 << 10
	// segment is the most that one may have: half of what a narrow buffer may take, since the kernel opens no smaller window than a
	// segment. Smaller ones cost both ends of a loopback connection more time than all else.
	segment = 31 << 10
	// WideIn and WideOut are what most systems allow at most (net.core.rmem_max, wmem_max).
	WideIn, WideOut = 208 << 10, 208 << 10
)

// bound keeps the kernel from growing the buffers of a socket that is to connect, or of those that a listener accepts. They
// begin wide, because the scale of the window is agreed upon in the handshake.
func bound(fd int) error {
	// Over loopback a segment is as large as a narrow buffer otherwise, and the window opens only when the sender's persist timer asks.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, segment); err != nil {
		return fmt.Errorf("set TCP_MAXSEG: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, WideIn); err != nil {
		return fmt.Errorf("set SO_RCVBUF: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, NarrowOut); err != nil {
		return fmt.Errorf("set SO_SNDBUF: %w", err)
	}
	return nil
}

// Ahead says that the client sent, before its connection was accepted, more than narrow buffers hold. The kernel would drop what comes behind
// that, and with it all that the client says of what it hears, until the rest is read.
func Ahead(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	unread := 0
	err = control(raw, func(fd int) error {
		unread, err = unix.IoctlGetInt(fd, unix.SIOCINQ)
		return err
	})
	return err == nil && unread > NarrowIn
}

// Narrow gives a connection the buffers that one has which carries little.
func Narrow(c *net.TCPConn) error {
	if err := c.SetReadBuffer(NarrowIn); err != nil {
		return fmt.Errorf("narrow connection: %w", err)
	}
	return nil
}

// Widen gives a connection the buffers for carrying much.
func Widen(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err == nil {
		err = control(raw, func(fd int) error {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, WideIn); err != nil {
				return err
			}
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, WideOut); err != nil {
				return err
			}
			return unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_WINDOW_CLAMP, WideIn)
		})
	}
	if err != nil {
		return fmt.Errorf("widen connection: %w", err)
	}
	return nil
}
