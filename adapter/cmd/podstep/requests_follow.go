package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/requests/local"
)

// lookEvery is how often sessions that began meanwhile are looked for.
const lookEvery = 500 * time.Millisecond

// following tells of the requests of all sessions that are meant, also of those that begin later. Its goroutines are one for each session; run
// waits for them.
type following struct {
	*podstep
	flags *requestsFlags
	// known are the directories of sessions that are followed, or were.
	known map[string]bool
	group *errgroup.Group

	mu      sync.Mutex // one line at a time
	several bool       // sessions: each line says which
	headed  bool
}

// followRequests tells of what came and of each request when it is over, until the person has enough.
func (p *podstep) followRequests(ctx context.Context, flags *requestsFlags) error {
	f := &following{podstep: p, flags: flags, known: map[string]bool{}}
	var all context.Context
	f.group, all = errgroup.WithContext(ctx)
	f.run(all)
	if err := f.group.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// run looks for sessions until ctx ends.
func (f *following) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		for _, dir := range borrow.Dirs() {
			if !f.known[dir] {
				f.meet(ctx, dir)
			}
		}
		if first && len(f.known) == 0 && ctx.Err() == nil {
			fmt.Fprintln(f.errs, "podstep: no such session of yours runs on this machine yet; waiting for one")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// meet follows the session of a directory, if there is one and it is meant.
func (f *following) meet(ctx context.Context, dir string) {
	asked, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	c, err := local.Dial(asked, dir)
	if err != nil {
		return // it is over, or does not serve yet
	}
	if !f.flags.means(c.About) {
		c.Close()
		return
	}
	f.known[dir] = true
	f.head(len(f.known) > 1)
	f.group.Go(func() error {
		defer c.Close()
		told := map[uint64]string{}
		err := c.Follow(ctx, 0, func(change local.Change) error { return f.tell(c.About, change, told) })
		if errors.Is(err, local.ErrGone) || ctx.Err() != nil {
			return nil
		}
		return err
	})
}

// head prints the head of the table, again when lines begin to say whose they are.
func (f *following) head(several bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flags.output == "json" || f.headed && f.several == several {
		return
	}
	f.headed, f.several = true, several
	printRow(f.out, several, "", pad("SESSION", 0), padded(requestHead()))
}

// over is the last that is told of a request.
const over = "over"

// tell prints those of a change that are over, or wait for somebody, once each.
func (f *following) tell(about local.Session, change local.Change, told map[uint64]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range change.Requests {
		switch {
		case f.flags.output == "json":
			if err := f.printJSONLine(sessionRequest{about.ID, r}); err != nil {
				return err
			}
		case r.Done && told[r.ID] != over, r.Went == requests.Held && told[r.ID] == "":
			told[r.ID] = requests.Held
			if r.Done {
				told[r.ID] = over
			}
			printRow(f.out, f.several, "", pad(about.ID, 0), padded(requestCells(r)))
		}
	}
	if change.Lost > 0 {
		fmt.Fprintf(f.errs, "podstep: %d more came, too fast to be shown\n", change.Lost)
	}
	return nil
}
