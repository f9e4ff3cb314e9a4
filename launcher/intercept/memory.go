//go:build linux

package intercept

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// read copies len(b) bytes at addr out of the task. EFAULT: they are not mapped, and the kernel would say so too.
// EPERM: the process does not let us look (not dumpable, or Yama).
func (c *call) read(addr uint64, b []byte) error {
	return transfer(unix.SYS_PROCESS_VM_READV, int(c.Pid), addr, b)
}

// write copies b to addr in the task, with the errors of read.
func (c *call) write(addr uint64, b []byte) error {
	return transfer(unix.SYS_PROCESS_VM_WRITEV, int(c.Pid), addr, b)
}

func transfer(nr uintptr, tid int, addr uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	ours := unix.Iovec{Base: &b[0], Len: uint64(len(b))}
	theirs := unix.RemoteIovec{Base: uintptr(addr), Len: len(b)}
	n, _, e := unix.RawSyscall6(nr, uintptr(tid), uintptr(unsafe.Pointer(&ours)), 1, uintptr(unsafe.Pointer(&theirs)), 1, 0)
	if e != 0 {
		return e
	}
	if int(n) != len(b) {
		return unix.EFAULT
	}
	return nil
}

// bytesOf is v's memory.
func bytesOf[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }
