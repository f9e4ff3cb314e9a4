//go:build linux

package seccomp_test

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"podstep.dev/launcher/intercept/seccomp"
)

const (
	allow  = unix.SECCOMP_RET_ALLOW
	notify = unix.SECCOMP_RET_USER_NOTIF
	noSuch = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EHOSTUNREACH)
)

// run gives a system call to the filter in a BPF machine, whose loads are big endian.
func run(t *testing.T, o seccomp.Options, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	filter, err := seccomp.Filter(o)
	if err != nil {
		t.Fatal(err)
	}
	var code []bpf.Instruction
	for _, i := range filter {
		code = append(code, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K}.Disassemble())
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data, nr)
	binary.BigEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
	}
	verdict, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(verdict)
}

func TestFilterNotifiesWhatHasToBe(t *testing.T) {
	const pointer, high = 0x1000, 0x7f << 32
	for _, c := range []struct {
		name string
		nr   uint32
		args []uint64
		want uint32
	}{
		{"connect", unix.SYS_CONNECT, nil, notify},
		{"bind", unix.SYS_BIND, nil, notify},
		{"listen", unix.SYS_LISTEN, nil, notify},
		{"getpeername", unix.SYS_GETPEERNAME, nil, notify},
		{"getsockname", unix.SYS_GETSOCKNAME, nil, notify},
		{"sendmmsg", unix.SYS_SENDMMSG, nil, notify},
		{"recvmsg", unix.SYS_RECVMSG, nil, notify},
		{"uname", unix.SYS_UNAME, nil, notify},
		{"accept without an address", unix.SYS_ACCEPT, []uint64{3, 0, 0}, allow},
		{"accept", unix.SYS_ACCEPT, []uint64{3, pointer, pointer}, notify},
		{"accept4, address above 4 GiB", unix.SYS_ACCEPT4, []uint64{3, high, pointer, 0}, notify},
		{"accept4 without an address", unix.SYS_ACCEPT4, []uint64{3, 0, 0, 0}, allow},
		{"send", unix.SYS_SENDTO, []uint64{3, pointer, 1, 0, 0, 0}, allow},
		{"sendto", unix.SYS_SENDTO, []uint64{3, pointer, 1, 0, pointer, 16}, notify},
		{"recv", unix.SYS_RECVFROM, []uint64{3, pointer, 1, 0, 0, 0}, allow},
		{"recvfrom", unix.SYS_RECVFROM, []uint64{3, pointer, 1, 0, high, pointer}, notify},
		{"getsockopt SO_ERROR", unix.SYS_GETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_ERROR}, notify},
		{"getsockopt SO_TYPE", unix.SYS_GETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_TYPE}, allow},
		{"getsockopt of TCP", unix.SYS_GETSOCKOPT, []uint64{3, unix.IPPROTO_TCP, unix.SO_ERROR}, allow},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, nil, noSuch},
		{"execve", unix.SYS_EXECVE, nil, allow},
		{"read", unix.SYS_READ, nil, allow},
		{"getppid", unix.SYS_GETPPID, nil, allow},
	} {
		if got := run(t, seccomp.Options{}, nativeArch, c.nr, c.args...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
}

func TestFilterNotifiesExecWhenAsked(t *testing.T) {
	o := seccomp.Options{Exec: true, Extra: []uint32{unix.SYS_GETPPID}}
	for _, nr := range []uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_GETPPID, unix.SYS_CONNECT} {
		if got := run(t, o, nativeArch, nr); got != notify {
			t.Errorf("%d: %#x, want %#x", nr, got, uint32(notify))
		}
	}
}

// Programs of another architecture cannot be looked after; they get no connection rather than this machine's.
func TestFilterRefusesForeignConnects(t *testing.T) {
	for _, c := range foreignCalls {
		if got := run(t, seccomp.Options{}, c.arch, c.nr, c.args...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
}
