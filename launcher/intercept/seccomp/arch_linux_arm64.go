package seccomp

import "golang.org/x/sys/unix"

const (
	auditArch   = unix.AUDIT_ARCH_AARCH64
	auditArch32 = unix.AUDIT_ARCH_ARM
	x32Bit      = 0
	connect32   = 283 // arch/arm/tools/syscall.tbl

	hasSocketcall = false
)
