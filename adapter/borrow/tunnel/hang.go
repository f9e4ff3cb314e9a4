package tunnel

import (
	"context"
	"sync/atomic"
	"time"
)

// watch calls hung when moved has not changed for d, and returns then or when ctx ends. The time for which the debugger is
// stopped does not count.
func (g *gate) watch(ctx context.Context, d time.Duration, moved *atomic.Int64, hung func()) {
	left, seen := d, moved.Load()
	for {
		stopped, changed := g.now()
		began, timer := time.Now(), time.NewTimer(left)
		due := timer.C
		if stopped {
			due = nil
		}
		select {
		case <-due:
			now := moved.Load()
			if now == seen {
				hung()
				return
			}
			left, seen = d, now
		case <-changed:
			if !stopped {
				left -= time.Since(began)
			}
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}
