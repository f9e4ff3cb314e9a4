//go:build linux

package target

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Enter puts the calling thread into the process's network and uts namespaces. The goroutine stays locked to the thread,
// which is fit for nothing but an exec of the program that is to run there. EPERM names the capability that is missing.
func Enter(pid int) error {
	runtime.LockOSThread()
	for _, ns := range []struct {
		name string
		kind int
	}{{"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}} {
		if err := enter(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.name), ns.kind); err != nil {
			return fmt.Errorf("enter the target's %s namespace: %w", ns.name, err)
		}
	}
	return nil
}

func enter(path string, kind int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("the agent lacks the capability SYS_PTRACE: %w", err)
	case err != nil:
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	err = unix.Setns(fd, kind)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("the agent lacks the capability SYS_ADMIN: %w", err)
	}
	return os.NewSyscallError("setns", err)
}
