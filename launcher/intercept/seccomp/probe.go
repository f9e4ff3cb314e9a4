//go:build linux

package seccomp

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Probe tries what the interception needs on a thread that it throws away, and returns an error that names what is
// missing. It takes well under a millisecond.
func Probe() error {
	if err := notifSizes(); err != nil {
		return err
	}
	type installed struct {
		listener int
		err      error
	}
	listening := make(chan installed)
	answer := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its filter
		fd, err := Install([]unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offNr},
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_GETPPID, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		})
		listening <- installed{fd, err}
		if err == nil {
			got, _, _ := unix.Syscall(unix.SYS_GETPPID, 0, 0, 0)
			answer <- int(got)
		}
	}()
	in := <-listening
	if errors.Is(in.err, unix.EBUSY) {
		return fmt.Errorf("another supervisor above this process holds the seccomp listener: %w", in.err)
	}
	if in.err != nil {
		return fmt.Errorf("seccomp user notification (Linux 5.0): %w", in.err)
	}
	err := probeListener(in.listener)
	_ = unix.Close(in.listener) // answers with ENOSYS what is still unanswered
	if got := <-answer; err == nil {
		err = unix.Close(got)
	}
	return err
}

// probeListener answers the one call by a descriptor, and tries the way to a debuggee's descriptors.
func probeListener(listener int) error {
	wait := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
	if n, err := unix.Poll(wait, int(5*time.Second/time.Millisecond)); err != nil || n == 0 {
		return fmt.Errorf("seccomp notification does not arrive: %w", errors.Join(err, unix.ETIMEDOUT))
	}
	var n Notif
	if err := Receive(listener, &n); err != nil {
		return fmt.Errorf("receive seccomp notification: %w", err)
	}
	self := os.Getpid()
	pidfd, err := unix.PidfdOpen(self, 0)
	if err != nil {
		return fmt.Errorf("pidfd_open (Linux 5.3): %w", err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	dup, err := unix.PidfdGetfd(pidfd, listener, 0)
	if err != nil {
		return fmt.Errorf("pidfd_getfd (Linux 5.6; in a container it needs SYS_PTRACE): %w", err)
	}
	defer func() { _ = unix.Close(dup) }()
	var b [1]byte
	local := []unix.Iovec{{Base: &b[0], Len: 1}}
	if _, err := unix.ProcessVMReadv(self, local, []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&b[0])), Len: 1}}, 0); err != nil {
		return fmt.Errorf("process_vm_readv: %w", err)
	}
	if err := SendFD(listener, n.ID, dup, true); err != nil {
		return fmt.Errorf("answer by a descriptor (Linux 5.14): %w", err)
	}
	return nil
}

// notifSizes checks that the kernel's structures are those of this package.
func notifSizes() error {
	var sizes struct{ notif, resp, data uint16 }
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&sizes)))
	if e != 0 {
		return fmt.Errorf("seccomp user notification (Linux 5.0): %w", e)
	}
	if int(sizes.notif) != int(unsafe.Sizeof(Notif{})) || int(sizes.resp) != int(unsafe.Sizeof(Resp{})) {
		return fmt.Errorf("seccomp structures of %d and %d bytes: %w", sizes.notif, sizes.resp, errors.ErrUnsupported)
	}
	return nil
}
