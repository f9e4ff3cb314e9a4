//go:build linux

package intercept

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// All of these work on duplicates of the debuggee's sockets by bare system calls: a net.Conn would set O_NONBLOCK,
// which belongs to the open file and so to the debuggee.

var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

// option is an int option of a socket, or -1.
func option(fd, level, name int) int {
	v, err := unix.GetsockoptInt(fd, level, name)
	if err != nil {
		return -1
	}
	return v
}

// cookie is the socket's SO_COOKIE, or 0 when fd is none.
func cookie(fd int) uint64 {
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return 0
	}
	return c
}

// tcpState is one of the kernel's TCP states (net/tcp_states.h), or 0.
func tcpState(fd int) int {
	var info [8]byte
	n := uint32(len(info))
	_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 || n == 0 {
		return 0
	}
	return int(info[0])
}

func socketName(nr uintptr, fd int) (netip.AddrPort, syscall.Errno) {
	var b [maxSockaddr]byte
	n := uint32(len(b))
	_, _, e := unix.RawSyscall(nr, uintptr(fd), uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&n)))
	if e != 0 {
		return netip.AddrPort{}, e
	}
	ap, _ := parseSockaddr(b[:min(int(n), len(b))])
	return ap, 0
}

func localName(fd int) netip.AddrPort {
	ap, _ := socketName(unix.SYS_GETSOCKNAME, fd)
	return ap
}

func remoteName(fd int) (netip.AddrPort, syscall.Errno) { return socketName(unix.SYS_GETPEERNAME, fd) }

// acceptRaw accepts a connection, with its peer. On a blocking socket it waits.
func acceptRaw(fd, flags int) (accepted, syscall.Errno) {
	var b [maxSockaddr]byte
	n := uint32(len(b))
	conn, _, e := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&n)), uintptr(flags), 0, 0)
	if e != 0 {
		return accepted{fd: -1}, e
	}
	peer, _ := parseSockaddr(b[:min(int(n), len(b))])
	return accepted{fd: int(conn), peer: peer}, 0
}

// rawBind binds fd. sa is an encoded address.
func rawBind(fd int, sa []byte) syscall.Errno {
	_, _, e := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&sa[0])), uintptr(len(sa)))
	return e
}

// nonblocking reports whether the open file is; 0 and MSG_DONTWAIT are the caller's business.
func nonblocking(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_NONBLOCK != 0
}

// connectRaw connects; on a blocking stream socket it waits.
func connectRaw(fd int, sa []byte) syscall.Errno {
	_, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa[0])), uintptr(len(sa)))
	return e
}

// connectNow connects a TCP socket without ever waiting, whatever its open file says: O_NONBLOCK is the debuggee's. The
// call that can do so is sendto with MSG_FASTOPEN and nothing to send, which is connect with flags of its own
// (tcp_sendmsg_fastopen in net/ipv4/tcp.c).
func connectNow(fd int, sa []byte) syscall.Errno {
	if nonblocking(fd) {
		return connectRaw(fd, sa)
	}
	_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_FASTOPEN|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL,
		uintptr(unsafe.Pointer(&sa[0])), uintptr(len(sa)))
	if e == unix.EOPNOTSUPP { // net.ipv4.tcp_fastopen is without its bit for clients
		return connectFlagged(fd, sa)
	}
	return e
}

// connectFlagged has O_NONBLOCK on for the few microseconds that connect takes.
func connectFlagged(fd int, sa []byte) syscall.Errno {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return errnoOf(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_NONBLOCK); err != nil {
		return errnoOf(err)
	}
	defer func() { _, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags) }()
	return connectRaw(fd, sa)
}

// anyOf is the unspecified address of ap's family.
func anyOf(a netip.Addr) netip.Addr {
	if a.Is6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}
