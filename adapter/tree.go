package adapter

import (
	"context"
	"fmt"

	"podstep.dev/launcher"
)

// Tree is a started process with everything that comes of it.
type Tree interface {
	// Wait returns when the process itself is over. The error is nil when it exited with 0.
	Wait() error
	// Kill ends the whole tree and waits for it. It may be called more than once.
	Kill() error
}

// startKept starts a process below the keeper.
func startKept(ctx context.Context, p launcher.Process) (Tree, error) {
	t, err := launcher.Start(ctx, p)
	if err != nil {
		return nil, err
	}
	return kept{t}, nil
}

// kept is a launcher's tree.
type kept struct{ tree *launcher.Tree }

func (k kept) Kill() error { return k.tree.Kill() }

func (k kept) Wait() error {
	status, err := k.tree.Wait()
	switch {
	case err != nil:
		return err
	case status.Signal != 0:
		return fmt.Errorf("ended by signal %d", status.Signal)
	case status.Code != 0:
		return fmt.Errorf("exit status %d", status.Code)
	}
	return nil
}
