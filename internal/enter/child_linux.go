package enter

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The steps of the child, as it reports them.
const (
	stepNone = iota
	stepSetns
	stepCredentials
	stepParent
	stepStdio
	stepExec
)

var steps = [...]string{"clone", "setns", "capset", "prctl", "dup3", "execve"}

// plan is all that the child needs; nothing of it moves or is made between clone and exec.
type plan struct {
	target     uintptr // pidfd
	namespaces uintptr // CLONE_NEW* of those to join; 0: none differs
	parent     uintptr // pid of this process
	program    uintptr // O_PATH descriptor
	status     uintptr // pipe that tells a failure; the exec closes it
	stdio      [3]uintptr
	path       *byte
	argv, env  []*byte

	// What the child writes to lies here and not on its stack, whose bounds are tight.
	mask   uint64
	all    uint64
	none   [4]uint64
	report [2]uint32
	caps   struct {
		header unix.CapUserHeader
		data   [2]unix.CapUserData
	}
}

func (p *plan) close() {
	for _, fd := range append(p.stdio[:], p.program) {
		if fd != 0 {
			_ = unix.Close(int(fd))
		}
	}
}

// fork clones this process, without shared memory or descriptors, into one that runs the child's half and never returns.
// A copy of a Go process has one thread and no runtime: until the exec it may only make raw system calls. No signal
// reaches it in between, and nothing in it grows the stack or allocates. syscall.forkAndExecInChild does the same.
//
//go:noinline
//go:norace
//go:nocheckptr
func (p *plan) fork() (pid int, errno syscall.Errno) {
	p.all = ^uint64(0)
	p.caps.header.Version = unix.LINUX_CAPABILITY_VERSION_3
	// No descriptor without close-on-exec is being made elsewhere in this process.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	n, errno := p.clone()
	return int(n), errno
}

//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) clone() (pid uintptr, errno syscall.Errno) {
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.all)), uintptr(unsafe.Pointer(&p.mask)), 8, 0, 0)
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		p.child()
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.mask)), 0, 8, 0, 0)
	return pid, errno
}

// child becomes the program, or tells why not and ends.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) child() {
	step, errno := p.enter()
	if errno == 0 {
		step, errno = p.exec()
	}
	p.report[0], p.report[1] = uint32(step), uint32(errno)
	syscall.RawSyscall(unix.SYS_WRITE, p.status, uintptr(unsafe.Pointer(&p.report)), 8)
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 126, 0, 0)
	}
}

// enter joins the namespaces and takes the credentials to act in them.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) enter() (step int, errno syscall.Errno) {
	if p.namespaces != 0 {
		// With a pidfd all are joined at once, and they are surely that process's (Linux 5.8).
		if _, _, errno = syscall.RawSyscall(unix.SYS_SETNS, p.target, p.namespaces, 0); errno != 0 {
			return stepSetns, errno
		}
	}
	if p.namespaces&unix.CLONE_NEWUSER != 0 {
		// The capabilities that joining gave are lost in the exec unless the program is root there. Groups may be
		// denied to a user's own namespace (user_namespaces(7), setgroups): then they stay.
		syscall.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
		syscall.RawSyscall(unix.SYS_SETRESGID, 0, 0, 0)
		if _, _, errno = syscall.RawSyscall(unix.SYS_SETRESUID, 0, 0, 0); errno != 0 {
			if errno = p.keepCapabilities(); errno != 0 {
				return stepCredentials, errno
			}
		}
	}
	// After the credentials: changing them clears it (prctl(2), PR_SET_PDEATHSIG). The program may end in its own way.
	if _, _, errno = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0, 0); errno != 0 {
		return stepParent, errno
	}
	if parent, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); parent != p.parent {
		return stepParent, unix.ESRCH
	}
	return stepNone, 0
}

// keepCapabilities carries them through the exec of a namespace without a root user (capabilities(7), ambient).
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) keepCapabilities() syscall.Errno {
	header, data := uintptr(unsafe.Pointer(&p.caps.header)), uintptr(unsafe.Pointer(&p.caps.data))
	if _, _, errno := syscall.RawSyscall(unix.SYS_CAPGET, header, data, 0); errno != 0 {
		return errno
	}
	p.caps.data[0].Inheritable = p.caps.data[0].Permitted
	p.caps.data[1].Inheritable = p.caps.data[1].Permitted
	if _, _, errno := syscall.RawSyscall(unix.SYS_CAPSET, header, data, 0); errno != 0 {
		return errno
	}
	for c := uintptr(0); c < 64; c++ {
		// EINVAL above the kernel's last capability.
		syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0, 0)
	}
	return 0
}

// exec puts standard input, output and error in place and runs the program. It returns only when that failed.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) exec() (step int, errno syscall.Errno) {
	root := [2]byte{'/', 0}
	syscall.RawSyscall(unix.SYS_CHDIR, uintptr(unsafe.Pointer(&root)), 0, 0)
	syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
	for i := uintptr(0); i < 3; i++ {
		if _, _, errno = syscall.RawSyscall(unix.SYS_DUP3, p.stdio[i], i, 0); errno != 0 {
			return stepStdio, errno
		}
	}
	// What an editor left open in podstep is not for the agent (Linux 5.11; before, it is merely not hidden).
	syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 3, uintptr(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC)
	for sig := uintptr(1); sig <= 64; sig++ {
		syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&p.none)), 0, 8, 0, 0)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.none)), 0, 8, 0, 0)
	argv, env := uintptr(unsafe.Pointer(&p.argv[0])), uintptr(unsafe.Pointer(&p.env[0]))
	_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p.path)), argv, env)
	if errno == unix.EACCES {
		// The namespace's root may not pass through the directories to the program: by its descriptor it needs none.
		_, _, errno = syscall.RawSyscall6(unix.SYS_EXECVEAT, p.program, uintptr(unsafe.Pointer(&root[1])), argv, env, unix.AT_EMPTY_PATH, 0)
	}
	return stepExec, errno
}
