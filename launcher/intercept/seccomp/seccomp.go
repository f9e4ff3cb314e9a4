//go:build linux

// Package seccomp is the kernel's interface for user notification and nothing above it: the structures, the ioctls, the
// filter as BPF, its installation, and a probe of what the kernel can do. Numbers and layouts are those of
// linux/seccomp.h; see seccomp_unotify(2).
package seccomp

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Data is struct seccomp_data: the system call that a task is held in.
type Data struct {
	Nr   int32
	Arch uint32
	IP   uint64
	Args [6]uint64
}

// Notif is struct seccomp_notif. Pid is the thread's id in the receiver's pid namespace.
type Notif struct {
	ID    uint64
	Pid   uint32
	Flags uint32
	Data  Data
}

// Resp is struct seccomp_notif_resp. Error is a negative errno.
type Resp struct {
	ID    uint64
	Val   int64
	Error int32
	Flags uint32
}

// addFD is struct seccomp_notif_addfd.
type addFD struct {
	ID         uint64
	Flags      uint32
	Srcfd      uint32
	Newfd      uint32
	NewfdFlags uint32
}

// Continue in Resp.Flags lets the kernel run the call.
const Continue = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE

// The ioctls of linux/seccomp.h; x/sys/unix lacks those after SEND.
const (
	ioctlRecv     = 0xc0502100
	ioctlSend     = 0xc0182101
	ioctlIDValid  = 0x40082102
	ioctlAddFD    = 0x40182103
	ioctlSetFlags = 0x40082104

	addFDSend    = 2 // SECCOMP_ADDFD_FLAG_SEND, Linux 5.14
	flagSyncWake = 1 // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6
)

// Receive waits for the next notification. ENOENT: the task went away before it was received, or no task is left.
func Receive(listener int, n *Notif) error {
	*n = Notif{} // the kernel wants it zeroed
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), ioctlRecv, uintptr(unsafe.Pointer(n)))
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return e
		}
	}
}

// Send answers a notification. ENOENT: the call was interrupted or its task is gone; the answer is lost.
// It never blocks, so it does not tell Go's scheduler.
func Send(listener int, r *Resp) error {
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(listener), ioctlSend, uintptr(unsafe.Pointer(r)))
	if e != 0 {
		return e
	}
	return nil
}

// SendFD installs a duplicate of fd in the task and answers the notification with its number, both or neither.
// It waits until the task is scheduled.
//
// Its thread takes no signal meanwhile, not even Go's own for preemption: the kernel marks the call as answered before
// it waits, so an interrupted wait would leave the task with 0 as the result and without the descriptor
// (seccomp_notify_addfd in kernel/seccomp.c).
func SendFD(listener int, id uint64, fd int, closeOnExec bool) error {
	a := addFD{ID: id, Flags: addFDSend, Srcfd: uint32(fd)}
	if closeOnExec {
		a.NewfdFlags = unix.O_CLOEXEC
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), ioctlAddFD, uintptr(unsafe.Pointer(&a)))
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil); err != nil {
		return fmt.Errorf("unblock signals: %w", err)
	}
	if e != 0 {
		return e
	}
	return nil
}

// Valid reports whether the task still waits for the answer.
func Valid(listener int, id uint64) bool {
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(listener), ioctlIDValid, uintptr(unsafe.Pointer(&id)))
	return e == 0
}

// SyncWakeUp makes the kernel hand the processor over at each notification and each answer (Linux 6.6): the round trip
// of a continued call then costs half as much. EINVAL: the kernel is older; nothing else changes.
func SyncWakeUp(listener int) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), ioctlSetFlags, flagSyncWake)
	if e != 0 {
		return e
	}
	return nil
}
