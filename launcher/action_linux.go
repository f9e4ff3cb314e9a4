package launcher

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// action is struct sigaction as the kernel has it (asm-generic/signal.h): handler, flags, restorer, mask. The zero one
// is SIG_DFL.
type action [4]uint64

// setAction sets what sig does in this process, under the Go runtime: its own way back to the default, signal.Reset,
// goes by what it would do itself, which for SIGTSTP and SIGSEGV is not what the kernel does. It returns what sig did.
func setAction(sig syscall.Signal, to action) (was action) {
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&to)), uintptr(unsafe.Pointer(&was)), 8, 0, 0)
	return was
}
