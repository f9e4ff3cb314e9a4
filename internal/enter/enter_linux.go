// Package enter starts a program inside another process's namespaces, without a process in between and without root
// where the namespaces are one's own. It knows nothing of what the program does there.
//
// docs/decisions/0004-entering-namespaces.md says why it is done in this way.
package enter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Program is what to start.
type Program struct {
	// Path is the program's absolute path. It must be readable where Start is called, not inside the target.
	Path string
	// Args follow the program's name.
	Args []string
	// Env is the whole environment. If nil, it is empty.
	Env []string
	// Stdin, Stdout and Stderr stay the caller's. They are made to block.
	Stdin, Stdout, Stderr *os.File
}

// Error says at which step the kernel refused. It unwraps to the errno.
type Error struct {
	// Step is the system call: "setns" when the target may not be entered, "execve" when the program cannot run.
	Step string
	// Errno is the kernel's verdict.
	Errno syscall.Errno
}

func (e *Error) Error() string { return e.Step + ": " + e.Errno.Error() }

func (e *Error) Unwrap() error { return e.Errno }

// Process is a program that was started. One goroutine belongs to it: it keeps the thread that the kernel takes for the
// parent, waits for the program, and ends with it.
type Process struct {
	// Pid is the program's, as seen from here.
	Pid int

	handle *os.Process
	done   chan struct{}
	state  *os.ProcessState
	err    error
}

// Start runs p in the user, network and uts namespaces of target, as root of that user namespace if it differs from the
// caller's. The target must be alive. The program leads a session of its own and gets SIGTERM when this process dies.
// A refusal of the kernel is an *Error.
func Start(target *Target, p Program) (*Process, error) {
	plan, err := newPlan(target, p)
	if err != nil {
		return nil, fmt.Errorf("enter process %d: %w", target.Pid, err)
	}
	proc := &Process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(proc.done)
		// The kernel's death signal is sent when the parent *thread* ends, so it must not end before the program.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := proc.start(plan)
		started <- err
		if err == nil {
			proc.state, proc.err = proc.handle.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("enter process %d: %w", target.Pid, err)
	}
	return proc, nil
}

// Done is closed when the program has ended and was waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the program's end and says how it ended.
func (p *Process) Wait() (*os.ProcessState, error) {
	<-p.done
	return p.state, p.err
}

// Kill ends the program at once. It does not wait.
func (p *Process) Kill() error {
	if err := p.handle.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", p.Pid, err)
	}
	return nil
}

func (p *Process) start(plan *plan) error {
	defer plan.close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	plan.status = w.Fd()
	pid, errno := plan.fork()
	runtime.KeepAlive(plan)
	_ = w.Close()
	if errno != 0 {
		return &Error{Step: "clone", Errno: errno}
	}
	p.Pid = pid
	if p.handle, err = os.FindProcess(pid); err != nil {
		return err
	}
	var report [8]byte
	if _, err := io.ReadFull(r, report[:]); errors.Is(err, io.EOF) {
		return nil // the pipe was closed by the exec
	}
	_, _ = p.handle.Wait()
	step := steps[binary.NativeEndian.Uint32(report[:4])%uint32(len(steps))]
	return &Error{Step: step, Errno: syscall.Errno(binary.NativeEndian.Uint32(report[4:]))}
}

// newPlan prepares all that the child needs, so that it allocates nothing.
func newPlan(target *Target, p Program) (_ *plan, err error) {
	pl := &plan{parent: uintptr(os.Getpid()), target: target.fd.Fd()}
	defer func() {
		if err != nil {
			pl.close()
		}
	}()
	if pl.namespaces, err = target.foreign(); err != nil {
		return nil, err
	}
	if pl.path, err = syscall.BytePtrFromString(p.Path); err != nil {
		return nil, err
	}
	if pl.argv, err = syscall.SlicePtrFromStrings(append([]string{filepath.Base(p.Path)}, p.Args...)); err != nil {
		return nil, err
	}
	if pl.env, err = syscall.SlicePtrFromStrings(p.Env); err != nil {
		return nil, err
	}
	fd, err := unix.Open(p.Path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p.Path, Err: err}
	}
	pl.program = uintptr(fd)
	for i, f := range []*os.File{p.Stdin, p.Stdout, p.Stderr} {
		if pl.stdio[i], err = duplicate(f); err != nil {
			return nil, fmt.Errorf("duplicate descriptor %d: %w", i, err)
		}
	}
	return pl, nil
}

// duplicate makes a descriptor above 0 to 2, so that putting one in its place never closes another. It blocks, as a
// program expects of its standard input and output.
func duplicate(f *os.File) (uintptr, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 10)
	return uintptr(fd), err
}

// Target is a process held by a pidfd: its number cannot come to mean another process.
type Target struct {
	// Pid is the process's number.
	Pid int

	fd *os.File
}

// Open holds the process with this number. ESRCH: there is none; EINVAL or ENOENT: it is a thread of another process.
func Open(pid int) (*Target, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &Target{Pid: pid, fd: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Alive says whether the process still runs: what was read of /proc/PID before is its own.
func (t *Target) Alive() bool {
	polled := []unix.PollFd{{Fd: int32(t.fd.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(polled, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n == 0
		}
	}
}

// Foreign says whether the target's namespace of a kind ("net", "user", "uts") is another than the caller's.
// EACCES: the target may not be looked into.
func (t *Target) Foreign(kind string) (bool, error) {
	var theirs, ours unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(t.Pid)+"/ns/"+kind, &theirs); err != nil {
		return false, fmt.Errorf("read the %s namespace of process %d: %w", kind, t.Pid, err)
	}
	if err := unix.Stat("/proc/thread-self/ns/"+kind, &ours); err != nil {
		return false, fmt.Errorf("read the own %s namespace: %w", kind, err)
	}
	return theirs.Ino != ours.Ino || theirs.Dev != ours.Dev, nil
}

// Close lets go of the process.
func (t *Target) Close() error { return t.fd.Close() }

// foreign is the set of namespaces to join: entering one's own user namespace again is an error (setns(2)).
func (t *Target) foreign() (flags uintptr, err error) {
	for _, ns := range []struct {
		kind string
		flag uintptr
	}{{"user", unix.CLONE_NEWUSER}, {"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}} {
		differs, err := t.Foreign(ns.kind)
		if err != nil {
			return 0, err
		}
		if differs {
			flags |= ns.flag
		}
	}
	return flags, nil
}
