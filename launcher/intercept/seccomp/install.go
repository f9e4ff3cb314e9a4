//go:build linux

package seccomp

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Install puts the filter on the calling thread alone and returns the listener, which is close-on-exec. The thread
// must be locked (runtime.LockOSThread): it is bound to the filter for good, exec and all its children included. The
// listener has to be handed over by another thread, because the calls of this one may be notified already.
//
// EBUSY: a filter above has a listener already, as in some sandboxes; the kernel allows one.
// Never set WAIT_KILLABLE_RECV: it keeps a debugger from stopping the thread while a call is under way.
func Install(filter []unix.SockFilter) (listener int, err error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, fmt.Errorf("set no_new_privs: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return -1, fmt.Errorf("install seccomp filter: %w", e)
	}
	return int(fd), nil
}
