//go:build linux

package target

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxEnvironment bounds what is read of an environment, in bytes: execve(2) allows a quarter of the stack limit,
// 2 MiB by default.
const maxEnvironment = 4 << 20

// Environment is what the process was started with, as KEY=VALUE, in its order.
func (t *Target) Environment() ([]string, error) {
	if t.own {
		return nil, nil
	}
	text, err := t.environ()
	if errors.Is(err, fs.ErrPermission) {
		// The file is its owner's alone. CAP_SYS_PTRACE opens the memory that it shows, but not the file.
		var merr error
		if text, merr = t.environMemory(); merr == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read environment of process %d: %w", t.pid, err)
	}
	var environment []string
	for entry := range strings.SplitSeq(string(text), "\x00") {
		if strings.Contains(entry, "=") {
			environment = append(environment, entry)
		}
	}
	return environment, nil
}

func (t *Target) environ() ([]byte, error) {
	fd, err := unix.Openat(int(t.proc.Fd()), "environ", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "environ")
	text, err := io.ReadAll(io.LimitReader(file, maxEnvironment))
	return text, errors.Join(err, file.Close())
}

// environMemory reads the same from the process's memory.
func (t *Target) environMemory() ([]byte, error) {
	s, err := readStat("/proc", t.pid)
	if err != nil {
		return nil, err
	}
	if s.envEnd <= s.envStart {
		return nil, unix.EACCES
	}
	text := make([]byte, min(s.envEnd-s.envStart, maxEnvironment))
	local := []unix.Iovec{{Base: &text[0]}}
	local[0].SetLen(len(text))
	n, err := unix.ProcessVMReadv(t.pid, local, []unix.RemoteIovec{{Base: s.envStart, Len: len(text)}}, 0)
	if err != nil {
		return nil, os.NewSyscallError("process_vm_readv", err)
	}
	if over(int(t.pidfd.Fd())) {
		// The number may be another process's by now.
		return nil, unix.ESRCH
	}
	return text[:n], nil
}
