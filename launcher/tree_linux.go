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

	"podstep.dev/internal/fault"
	"podstep.dev/internal/program"
	"podstep.dev/internal/wire"
)

const (
	// keeperPatience is how long an orderly end may take before the keeper is killed and its tree swept.
	keeperPatience = time.Second
	// copyPatience is how long copies of standard input and output may outlive the keeper.
	copyPatience = 500 * time.Millisecond
)

// Tree is a program, its keeper and all that came of the program.
//
// One goroutine, watch, reads what the keeper says and ends after the keeper did; Kill waits for it. With Foreground
// another one, follow, passes job control on until the program exits.
type Tree struct {
	process  Process
	mark     mark
	keeper   *exec.Cmd
	pid      int
	stopCtx  func() bool
	exited   chan struct{} // closed when status and err are set
	gone     chan struct{} // closed when nothing is left
	status   ExitStatus
	err      error
	sweepErr error

	mu       sync.Mutex
	lifeline *os.File // nil after the goodbye
}

// Start runs p.Argv below a keeper. When ctx ends, so does the tree. The caller calls Kill in the end, also after the
// program has exited: what it left behind runs until then. This process becomes a subreaper, so that the orphans of a
// killed keeper come to it.
func Start(ctx context.Context, p Process) (*Tree, error) {
	launcher, err := program.Find(program.Launcher)
	if err != nil {
		return nil, fault.New(fault.LauncherMissing, "podstep-launch was not found", err)
	}
	if len(p.Argv) == 0 {
		return nil, errors.New("start: no program named")
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("start %s: become subreaper: %w", p.Argv[0], err)
	}
	t := &Tree{
		process: p, mark: newMark(p.SessionDir),
		exited: make(chan struct{}), gone: make(chan struct{}),
	}
	status, err := t.startKeeper(launcher)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Argv[0], err)
	}
	var first keeperSays
	err = wire.ReadFrame(status, &first)
	if err == nil && first.Failed != nil {
		err = first.Failed
	}
	if err != nil {
		t.sayGoodbye()
		_ = status.Close()
		_ = t.keeper.Wait()
		return nil, fmt.Errorf("start %s: %w", p.Argv[0], err)
	}
	t.pid = first.Started
	var following sync.WaitGroup
	if p.Foreground {
		following.Go(t.follow)
	}
	go t.watch(context.WithoutCancel(ctx), status, &following)
	t.stopCtx = context.AfterFunc(ctx, t.sayGoodbye)
	return t, nil
}

// startKeeper starts the keeper in a process group of its own, so that no terminal's or editor's signal to our group
// reaches it, and returns the status pipe.
func (t *Tree) startKeeper(launcher string) (*os.File, error) {
	lifelineEnd, lifeline, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer lifelineEnd.Close()
	status, statusEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, lifeline.Close())
	}
	defer statusEnd.Close()
	args := []string{"keep", "--mark", t.mark.String()}
	if t.process.SessionDir != "" {
		args = append(args, "--session-dir", t.process.SessionDir)
	}
	if t.process.Foreground {
		args = append(args, "--foreground")
	}
	cmd := exec.Command(launcher, append(append(args, "--"), t.process.Argv...)...)
	cmd.Env, cmd.Dir = t.process.Env, t.process.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = t.process.Stdin, t.process.Stdout, t.process.Stderr
	cmd.ExtraFiles = []*os.File{lifelineEnd, statusEnd} // lifelineFD, statusFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = copyPatience
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, lifeline.Close(), status.Close())
	}
	t.keeper, t.lifeline = cmd, lifeline
	return status, nil
}

// Pid is the program's process id.
func (t *Tree) Pid() int { return t.pid }

// Wait blocks until the program has exited. Others of its tree may go on until Kill.
func (t *Tree) Wait() (ExitStatus, error) {
	<-t.exited
	return t.status, t.err
}

// Signal sends sig to the program; those that a terminal sends (SIGINT, SIGQUIT, SIGTSTP) to its whole process group.
// It is os.ErrProcessDone when the program has exited.
func (t *Tree) Signal(sig os.Signal) error {
	n, ok := sig.(syscall.Signal)
	if !ok || n <= 0 || n > 64 {
		return fmt.Errorf("signal %v: %w", sig, syscall.EINVAL)
	}
	select {
	case <-t.exited:
		return os.ErrProcessDone
	default:
	}
	return t.tell(byte(n))
}

func (t *Tree) tell(b byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lifeline == nil {
		return os.ErrProcessDone
	}
	if _, err := t.lifeline.Write([]byte{b}); err != nil {
		return os.ErrProcessDone
	}
	return nil
}

// Kill ends the whole tree and returns when nothing of it is left. It may be called more than once.
func (t *Tree) Kill() error {
	t.stopCtx()
	t.sayGoodbye()
	patience := time.NewTimer(keeperPatience)
	defer patience.Stop()
	select {
	case <-t.gone:
	case <-patience.C:
		_ = t.keeper.Process.Kill() // stopped or hanging; watch sweeps its tree
		<-t.gone
	}
	return t.sweepErr
}

func (t *Tree) sayGoodbye() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lifeline == nil {
		return
	}
	_, _ = t.lifeline.Write([]byte{goodbye})
	_ = t.lifeline.Close()
	t.lifeline = nil
}

func (t *Tree) watch(ctx context.Context, status *os.File, following *sync.WaitGroup) {
	defer close(t.gone)
	defer following.Wait()
	known := t.listen(status)
	_ = status.Close()
	err := t.keeper.Wait()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		// Its orphans came to this process before Wait returned (exit_notify before the reaping, kernel/exit.c).
		t.sweepErr = sweep(ctx, 0, func(m mark) bool { return m == t.mark })
		t.takeTerminal()
	}
	t.sayGoodbye()
	if !known {
		t.exit(ExitStatus{Signal: syscall.SIGKILL}, ErrKeeperLost)
	}
}

// listen follows what the keeper says and returns whether it told of the program's end.
func (t *Tree) listen(status *os.File) (known bool) {
	for {
		var says keeperSays
		if err := wire.ReadFrame(status, &says); err != nil {
			return known
		}
		switch {
		case says.Exited != nil && !known:
			known = true
			t.exit(*says.Exited, nil)
		case says.Stopped != 0:
			t.suspend()
		}
	}
}

func (t *Tree) exit(status ExitStatus, err error) {
	t.status, t.err = status, err
	close(t.exited)
}

func (t *Tree) follow() {
	control := make(chan os.Signal, 4)
	notifyJobControl(control)
	defer signal.Stop(control)
	_ = t.tell(foreground) // an fg came before that
	for {
		select {
		case sig := <-control:
			_ = t.tell(byte(sig.(syscall.Signal)))
		case <-t.exited:
			return
		}
	}
}

func (t *Tree) suspend() {
	if t.process.Suspend != nil {
		t.process.Suspend()
	} else {
		suspendGroup()
	}
	_ = t.tell(byte(syscall.SIGCONT))
}

// takeTerminal does what a killed keeper could not.
func (t *Tree) takeTerminal() {
	stdin, ok := t.process.Stdin.(*os.File)
	if !ok || !t.process.Foreground {
		return
	}
	if tty := terminalOf(int(stdin.Fd())); tty != nil {
		tty.pass(t.pid, unix.Getpgrp())
	}
}
