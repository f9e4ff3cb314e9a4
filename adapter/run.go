package adapter

import (
	"context"
	"errors"
	"os"

	"podstep.dev/internal/fault"
	"podstep.dev/launcher"
)

// Command is a program that Run starts in the target's place.
type Command struct {
	// Argv is the program and its arguments. Required.
	Argv []string
	// Stdin, Stdout and Stderr are the program's. Required.
	Stdin, Stdout, Stderr *os.File
	// Signals are passed on to the program once it runs. If nil, none.
	Signals <-chan os.Signal
}

// Run is a session without a debugger: it borrows the target by begin, runs the program under interception and gives the
// target back when the program has exited. The end of ctx ends the session only until the program runs; after that the
// program's exit does, or the borrow's end. The error is a *fault.Fault when the session failed, whatever the status.
func Run(ctx context.Context, command Command, begin func(context.Context) (Borrow, error)) (status launcher.ExitStatus, err error) {
	b, err := begin(ctx)
	if err != nil {
		return status, err
	}
	tree, err := launcher.Start(context.WithoutCancel(ctx), launcher.Process{
		Argv: b.Command(command.Argv, false), Stdin: command.Stdin, Stdout: command.Stdout, Stderr: command.Stderr,
		SessionDir: b.SessionDir(), Foreground: true,
	})
	if err != nil {
		return status, errors.Join(fault.Or(err, fault.LauncherFailed, "cannot start "+command.Argv[0]), b.Close())
	}
	// What the program left behind ends first: it must not run on with half a network. Nobody listens any more, so the
	// target answers meanwhile.
	defer func() { err = errors.Join(err, tree.Kill(), b.Close()) }()
	exited := make(chan struct{})
	var waitErr error
	go func() {
		defer close(exited)
		status, waitErr = tree.Wait()
	}()
	for {
		select {
		case <-exited:
			return status, waitErr
		case sig := <-command.Signals:
			if err := tree.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return status, err
			}
		case <-b.Done():
			err := errors.Join(b.Err(), tree.Kill())
			<-exited
			return status, err
		}
	}
}
