package seccomp_test

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_AARCH64

var foreignCalls = []struct {
	name     string
	arch, nr uint32
	args     []uint64
	want     uint32
}{
	{"arm connect", unix.AUDIT_ARCH_ARM, 283, nil, refuse},
	{"arm read", unix.AUDIT_ARCH_ARM, 3, nil, allow},
}
