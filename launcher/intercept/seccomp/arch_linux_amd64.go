package seccomp

import "golang.org/x/sys/unix"

const (
	auditArch   = unix.AUDIT_ARCH_X86_64
	auditArch32 = unix.AUDIT_ARCH_I386
	x32Bit      = 0x40000000 // __X32_SYSCALL_BIT of asm/unistd.h
	connect32   = 362        // arch/x86/entry/syscalls/syscall_32.tbl

	hasSocketcall = true
)
