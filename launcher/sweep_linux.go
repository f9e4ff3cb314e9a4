package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// How often a tree that is being ended is looked at again, and for how long: a task in an uninterruptible sleep dies late.
const (
	sweepEvery = 10 * time.Millisecond
	sweepLimit = 10 * time.Second
)

// ErrSurvivors is wrapped when processes could not be ended in time; they belong to another user by now or hang in the kernel.
var ErrSurvivors = errors.New("processes survive")

// sweep ends every process whose mark matches, except this one, until none is left. Those that were orphaned to this
// process are reaped. For the length of grace it only looks whether they end by themselves. It is the way to end a
// tree whose keeper was killed.
func sweep(ctx context.Context, grace time.Duration, match func(mark) bool) error {
	ctx, cancel := context.WithTimeout(ctx, sweepLimit)
	defer cancel()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	patient := time.Now().Add(grace)
	for {
		left, err := marked(match)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, t := range left {
			switch {
			case !t.alive():
				_, _ = unix.Wait4(t.pid, nil, unix.WNOHANG, nil)
			case time.Now().After(patient):
				_ = t.kill() // found again until it is gone
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("end tree: %d %w", len(left), ErrSurvivors)
		}
	}
}

// marked returns the processes whose mark matches, except this one and zombies that are for others to reap.
func marked(match func(mark) bool) ([]task, error) {
	all, err := readTasks()
	if err != nil {
		return nil, err
	}
	self := os.Getpid()
	var found []task
	for _, t := range all {
		if t.pid == self || (!t.alive() && t.ppid != self) {
			continue
		}
		if m, ok := markOf(t.pid); ok && match(m) {
			found = append(found, t)
		}
	}
	return found, nil
}
