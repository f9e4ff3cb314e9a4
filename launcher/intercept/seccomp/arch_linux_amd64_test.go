package seccomp_test

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_X86_64

var foreignCalls = []struct {
	name     string
	arch, nr uint32
	args     []uint64
	want     uint32
}{
	{"i386 connect", unix.AUDIT_ARCH_I386, 362, nil, refuse},
	{"i386 socketcall connect", unix.AUDIT_ARCH_I386, 102, []uint64{3}, refuse},
	{"i386 socketcall socket", unix.AUDIT_ARCH_I386, 102, []uint64{1}, allow},
	{"i386 read", unix.AUDIT_ARCH_I386, 3, nil, allow},
	{"i386 call with the number of connect", unix.AUDIT_ARCH_I386, unix.SYS_CONNECT, nil, allow},
	{"x32 connect", unix.AUDIT_ARCH_X86_64, 0x40000000 | unix.SYS_CONNECT, nil, refuse},
	{"x32 read", unix.AUDIT_ARCH_X86_64, 0x40000000, nil, allow},
	{"arm connect", unix.AUDIT_ARCH_ARM, 283, nil, allow},
}
