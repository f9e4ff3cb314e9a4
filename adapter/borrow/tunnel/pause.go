package tunnel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"podstep.dev/internal/wire"
)

// Pause is the policy for what comes while the debugger is stopped. What the debuggee has already waits there.
type Pause struct {
	// Policy: to the target (also the zero value), wait, or be answered 503.
	Policy wire.OnPause
	// Requests is how many may wait at once; more go to the target. If zero, none may.
	Requests int
	// Patience is how long each may wait before it goes to the target.
	Patience time.Duration
}

// passes says that what comes while the debugger is stopped goes to the target at once.
func (p Pause) passes() bool { return p.Policy != wire.PauseHold && p.Policy != wire.PauseReject }

// errReject says that a request is to be answered 503.
var errReject = errors.New("rejected: the debugger is stopped")

func paused(text string) *wire.Refusal {
	return &wire.Refusal{Errno: syscall.EAGAIN, Reason: wire.ReasonPaused, Text: text}
}

// isPaused tells that refusal.
func isPaused(err error) bool {
	r, ok := errors.AsType[*wire.Refusal](err)
	return ok && r.Reason == wire.ReasonPaused
}

// gate knows whether the debugger is stopped, and has requests wait for it. The zero value is open.
type gate struct {
	mu      sync.Mutex
	stopped bool
	ending  bool
	waiting int
	changed chan struct{} // closed at the next change of stopped; nil while nobody asked
}

// set says whether the debugger is stopped. All who wait go on when it is not.
func (g *gate) set(stopped bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped == stopped {
		return
	}
	g.stopped = stopped
	g.tell()
}

// tell wakes all who wait; mu is held.
func (g *gate) tell() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// now says whether the debugger is stopped, and what is closed when that changes.
func (g *gate) now() (bool, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nowLocked()
}

func (g *gate) nowLocked() (bool, <-chan struct{}) {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return g.stopped, g.changed
}

// end lets nothing pass any more: what comes, and what waits, is the target's.
func (g *gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ending = true
	g.tell()
}

// errEnding is the refusal of what comes while the session ends.
func errEnding() error { return &wire.Refusal{Errno: syscall.EAGAIN, Text: "the session ends"} }

// pass returns nil when a request may go to the debuggee, and does so at once unless the policy is to hold. Else the error
// says what becomes of it: errReject, or a refusal. One that has waited goes on even when the debugger stops again at once:
// it came before what stopped it.
func (g *gate) pass(ctx context.Context, p Pause) error {
	resumed, err := g.enter(p)
	if resumed == nil || err != nil {
		return err
	}
	defer g.leave()
	timer := time.NewTimer(p.Patience)
	defer timer.Stop()
	select {
	case <-resumed:
		if g.isEnding() {
			return errEnding()
		}
		return nil
	case <-timer.C:
		return paused(fmt.Sprintf("the debugger is stopped, and was for %v", p.Patience))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enter decides at once, or returns what is closed when the debugger goes on; then leave follows.
func (g *gate) enter(p Pause) (resumed <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	stopped, changed := g.nowLocked()
	switch {
	case g.ending:
		return nil, errEnding()
	case !stopped:
		return nil, nil
	case p.Policy == wire.PauseReject:
		return nil, errReject
	case p.Policy != wire.PauseHold:
		return nil, paused("the debugger is stopped")
	case g.waiting >= p.Requests:
		return nil, paused(fmt.Sprintf("the debugger is stopped, and %d requests wait for it already", g.waiting))
	}
	g.waiting++
	return changed, nil
}

func (g *gate) isEnding() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ending
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting--
}

func (g *gate) held() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int64(g.waiting)
}
