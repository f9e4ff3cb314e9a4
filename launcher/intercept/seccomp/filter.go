//go:build linux

package seccomp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Options of a filter. The zero value is what a debuggee is started with.
type Options struct {
	// Exec notifies execve and execveat too, which a supervisor of scope intercept.Traced needs.
	Exec bool
	// Extra lists further system calls by number that are notified, for measurements.
	Extra []uint32
}

// Foreign system calls that connect, by number; they are refused, because the supervisor cannot read their world.
const (
	socketcall        = 102 // i386 (arch/x86/entry/syscalls/syscall_32.tbl)
	socketcallConnect = 3   // SYS_CONNECT of linux/net.h
)

// Filter is the program for o. It looks at the number first and at arguments only behind it, so that the kernel's
// bitmap of constant answers (Linux 5.11) keeps every other call free of cost. Whatever the supervisor has nothing to
// say to by its arguments alone is allowed here.
func Filter(o Options) ([]unix.SockFilter, error) {
	a := &assembler{labels: map[string]int{}}
	a.load(offArch)
	a.ifEqual(auditArch, "", "foreign")
	a.load(offNr)
	if x32Bit != 0 {
		a.ifAtLeast(x32Bit, "x32", "")
	}
	notified := []uint32{unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKNAME,
		unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SENDMMSG, unix.SYS_RECVMMSG, unix.SYS_UNAME}
	if o.Exec {
		notified = append(notified, unix.SYS_EXECVE, unix.SYS_EXECVEAT)
	}
	for _, nr := range append(notified, o.Extra...) {
		a.ifEqual(nr, "notify", "")
	}
	a.ifEqual(unix.SYS_ACCEPT, "pointer 1", "")
	a.ifEqual(unix.SYS_ACCEPT4, "pointer 1", "")
	a.ifEqual(unix.SYS_SENDTO, "pointer 4", "")
	a.ifEqual(unix.SYS_RECVFROM, "pointer 4", "")
	a.ifEqual(unix.SYS_GETSOCKOPT, "option", "")
	a.ifEqual(unix.SYS_IO_URING_SETUP, "no uring", "allow")

	a.label("pointer 1") // accept(fd, addr, len)
	a.notifyUnlessNull(1)
	a.label("pointer 4") // sendto and recvfrom(fd, buf, size, flags, addr, len)
	a.notifyUnlessNull(4)
	a.label("option") // getsockopt(fd, level, option, value, len)
	a.loadArg(1)
	a.ifEqual(unix.SOL_SOCKET, "", "allow")
	a.loadArg(2)
	a.ifEqual(unix.SO_ERROR, "notify", "allow")

	a.label("foreign") // another architecture: i386 here, arm there
	a.load(offArch)
	a.ifEqual(auditArch32, "", "allow")
	a.load(offNr)
	a.ifEqual(connect32, "refuse", "")
	if !hasSocketcall {
		a.ret(unix.SECCOMP_RET_ALLOW)
	} else {
		a.ifEqual(socketcall, "", "allow")
		a.loadArg(0)
		a.ifEqual(socketcallConnect, "refuse", "allow")
	}
	if x32Bit != 0 {
		a.label("x32")
		a.ifEqual(x32Bit|unix.SYS_CONNECT, "refuse", "allow")
	}

	a.label("allow")
	a.ret(unix.SECCOMP_RET_ALLOW)
	a.label("notify")
	a.ret(unix.SECCOMP_RET_USER_NOTIF)
	a.label("no uring") // io_uring passes every filter by, and libraries fall back
	a.ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	a.label("refuse")
	a.ret(unix.SECCOMP_RET_ERRNO | uint32(unix.EHOSTUNREACH))
	code, err := a.link()
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return code, nil
}

func (a *assembler) notifyUnlessNull(arg int) {
	a.loadArg(arg)
	a.ifEqual(0, "", "notify")
	a.loadArgHigh(arg)
	a.ifEqual(0, "allow", "notify")
}
