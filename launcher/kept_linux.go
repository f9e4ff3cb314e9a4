package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kept is a child of this process and all that comes of it. This process has no other children and is a subreaper.
//
// One goroutine, reap, waits for children of any kind and ends when there are none. It alone reaps.
type kept struct {
	// stopped gives the signals by which the terminal stopped the child.
	stopped chan syscall.Signal
	// exited gives the child's end, once.
	exited chan ExitStatus
	// none is closed when no process of the tree is left.
	none chan struct{}

	pid int
	// pidfd names the child for good; it is open as long as this process.
	pidfd int
	// tty is the terminal that the child was given, or nil.
	tty *terminal
	// back is the group that the terminal goes back to.
	back int

	mu     sync.Mutex
	reaped bool
}

// keep starts argv as the kept child in a process group of its own, which gets the terminal if the group called owner has
// it; 0 leaves the terminal alone. The caller is locked to its thread, which must live as long as the
// child: the child dies with the thread (PR_SET_PDEATHSIG).
func keep(argv, env []string, owner int) (*kept, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	path, err := lookPath(argv[0])
	if err != nil {
		return nil, err
	}
	k := &kept{
		stopped: make(chan syscall.Signal, 1),
		exited:  make(chan ExitStatus, 1),
		none:    make(chan struct{}),
		back:    owner,
	}
	sys := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if owner != 0 {
		if k.tty = terminalOf(0); k.tty != nil {
			has, err := k.tty.foreground()
			sys.Foreground = err == nil && has == owner
		}
	}
	k.pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}, Sys: sys})
	if err != nil {
		return nil, &os.PathError{Op: "start", Path: path, Err: err}
	}
	if k.pidfd, err = unix.PidfdOpen(k.pid, 0); err != nil {
		_ = syscall.Kill(k.pid, syscall.SIGKILL)
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go k.reap()
	return k, nil
}

// lookPath is exec.LookPath with PATH's own idea of the current directory, as a shell and execvp have it.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrDot) {
		err = nil
	}
	return path, err
}

func (k *kept) reap() {
	defer close(k.none)
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WUNTRACED|syscall.WALL, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // ECHILD
			return
		case pid != k.pid:
		case ws.Stopped():
			k.tellStopped(ws.StopSignal())
		default:
			k.mu.Lock()
			k.reaped = true
			k.mu.Unlock()
			k.exited <- exitStatus(ws)
		}
	}
}

// tellStopped drops a stop that nobody asked the terminal for: a debugger's SIGSTOP must not stop a supervisor too.
func (k *kept) tellStopped(sig syscall.Signal) {
	switch sig {
	case syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
	default:
		return
	}
	if k.tty == nil {
		return
	}
	select {
	case k.stopped <- sig:
	default: // one is enough
	}
}

// signal passes sig on to the child: to its whole group if it is one that a terminal would send to it.
func (k *kept) signal(sig syscall.Signal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reaped {
		return
	}
	to := k.pid
	if byTerminal(sig) || (sig == syscall.SIGCONT && k.tty != nil) {
		to = -k.pid
	}
	_ = syscall.Kill(to, sig)
}

// takeTerminal gives the child the terminal if its owner has it.
func (k *kept) takeTerminal() bool { return k.tty.pass(k.back, k.pid) }

// resume lets a child that the terminal stopped go on, in the foreground if that is where its owner is.
func (k *kept) resume() {
	k.takeTerminal()
	k.signal(syscall.SIGCONT)
}

// resumed lets a child go on that was stopped for using the terminal from the background, if its owner has come to the
// foreground meanwhile. Otherwise the owner has to stop as well.
func (k *kept) resumed(sig syscall.Signal) bool {
	if sig == syscall.SIGTSTP || !k.takeTerminal() {
		return false
	}
	k.signal(syscall.SIGCONT)
	return true
}

// giveBack returns the terminal to its owner.
func (k *kept) giveBack() { k.tty.pass(k.pid, k.back) }

// end kills all of the tree and returns when none of it is left.
func (k *kept) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepLimit)
	defer cancel()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		all, err := readTasks()
		if err != nil {
			return err
		}
		left := below(all, os.Getpid())
		for _, t := range left {
			_ = t.kill() // found again until it is gone
		}
		select {
		case <-k.none:
			return nil
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("end tree: %d %w", len(left), ErrSurvivors)
		}
	}
}

// forwarded gives the signals that this process passes on instead of ending by them. One that it was told to ignore
// stays ignored, in the tree too (nohup).
func forwarded() <-chan os.Signal {
	signals := make(chan os.Signal, 16)
	for _, sig := range []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2} {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	return signals
}

func exitStatus(ws syscall.WaitStatus) ExitStatus {
	if ws.Signaled() {
		return ExitStatus{Signal: ws.Signal()}
	}
	return ExitStatus{Code: ws.ExitStatus()}
}
