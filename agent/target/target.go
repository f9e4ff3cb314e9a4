//go:build linux

// Package target is the process whose place the debuggee takes: its environment, hostname, addresses and files, and the
// news of its end. The caller runs in the process's network and uts namespaces and sees it in /proc.
package target

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Target is one process. Its goroutine waits for the process's end and is ended by Close.
type Target struct {
	pid    int
	own    bool
	pidfd  *os.File
	proc   *os.File // /proc/PID: never that of a later process with the same number
	exited chan struct{}
	done   chan struct{}
}

// Own is the calling process in place of a target: what it sees of the pod, and no environment, because its own is
// nobody's. It never ends.
func Own() (*Target, error) {
	t, err := Open(os.Getpid())
	if err != nil {
		return nil, err
	}
	t.own = true
	return t, nil
}

// Open returns the process pid. The error wraps ESRCH when there is none.
func Open(pid int) (*Target, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	// Waiting must end with Close, which takes a descriptor that polls.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("open process %d: %w", pid, err), unix.Close(fd))
	}
	t := &Target{pid: pid, pidfd: os.NewFile(uintptr(fd), "pidfd"), exited: make(chan struct{}), done: make(chan struct{})}
	proc, err := unix.Open(fmt.Sprintf("/proc/%d", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil && over(fd) {
		err = errors.Join(unix.ESRCH, unix.Close(proc))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open process %d: %w", pid, err), t.pidfd.Close())
	}
	t.proc = os.NewFile(uintptr(proc), "proc")
	go t.watch()
	return t, nil
}

// watch closes exited when the process has ended.
func (t *Target) watch() {
	defer close(t.done)
	raw, err := t.pidfd.SyscallConn()
	if err != nil {
		return
	}
	if raw.Read(func(fd uintptr) bool { return over(int(fd)) }) == nil {
		close(t.exited)
	}
}

// over reports whether the process of a pidfd has ended.
func over(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// PID is the process's number as the agent sees it.
func (t *Target) PID() int { return t.pid }

// Exited is closed when the process has ended.
func (t *Target) Exited() <-chan struct{} { return t.exited }

// Hostname is that of the uts namespace.
func (t *Target) Hostname() (string, error) { return os.Hostname() }

// Addresses are those of the network namespace, without loopback and link-local ones.
func (t *Target) Addresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var addresses []netip.Addr
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if a := prefix.Addr().Unmap(); !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() {
			addresses = append(addresses, a)
		}
	}
	return addresses, nil
}

// Close ends the watch. Exited stays as it is.
func (t *Target) Close() error {
	err := errors.Join(t.pidfd.Close(), t.proc.Close())
	<-t.done
	return err
}

// Files are the process's files, below its root: symbolic links and .. never lead out of it.
func (t *Target) Files() fs.FS { return files{t} }

// ProcessFiles are Files, or nil when there is no process but the caller.
func (t *Target) ProcessFiles() fs.FS {
	if t.own {
		return nil
	}
	return t.Files()
}

type files struct{ *Target }

// openTimes bounds how often an open is tried that the kernel asks to repeat because of a rename (openat2(2), EAGAIN).
const openTimes = 8

// Open is read-only. It does not wait for the other end of a FIFO.
func (f files) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	root, err := unix.Openat(int(f.proc.Fd()), "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open root", Path: name, Err: err}
	}
	defer func() { _ = unix.Close(root) }()
	how := &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range openTimes {
		var fd int
		if fd, err = unix.Openat2(root, name, how); err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		if !errors.Is(err, unix.EAGAIN) {
			break
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: err}
}
