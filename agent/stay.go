//go:build linux

package agent

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Reasons why an agent's time, or a session's, is over.
var (
	// ErrTargetGone : the process whose place the debuggee takes has ended.
	ErrTargetGone = errors.New("the target's process ended")
	// ErrUnjoined : no session came.
	ErrUnjoined = errors.New("no session joined")
	// ErrLeft : the last session is over, and the time that the agent was asked to stay.
	ErrLeft = errors.New("the last session is over")
	// ErrLost : the last link was lost and no session came back.
	ErrLost = errors.New("the last link was lost and no session came back")
	// ErrLifetime : the longest time that an agent may stay is over.
	ErrLifetime = errors.New("the agent's lifetime is over")
)

// Stay is how long an agent has to be there: as long as there are sessions, and a while before the first and after the
// last. It has no goroutines.
type Stay struct {
	// unjoined is how long it waits for the first session, and for one to come back when the last link was lost.
	unjoined time.Duration
	// changed has room for one: sessions came or went.
	changed chan struct{}

	mu       sync.Mutex
	sessions int
	// greeting counts links that may become sessions; over says that none may any more.
	greeting int
	over     bool
	// until is when the agent may go while there is no session, and because of what, but for those that may come back: lost
	// has until when each is waited for.
	until  time.Time
	reason error
	lost   map[string]time.Time
}

// NewStay begins a stay, which lasts for unjoined if nobody joins.
func NewStay(unjoined time.Duration) *Stay {
	return &Stay{unjoined: unjoined, changed: make(chan struct{}, 1), until: time.Now().Add(unjoined), reason: ErrUnjoined, lost: map[string]time.Time{}}
}

// Hold keeps the agent while a link greets. It returns false when the stay is over: the link is not to be greeted, so that
// who joins takes another agent. Release ends it.
func (s *Stay) Hold() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.greeting++
	s.notify()
	return true
}

// Release ends a Hold.
func (s *Stay) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.greeting--
	s.notify()
}

// Join counts a session in. One that was lost is back, and is waited for no more.
func (s *Stay) Join(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions++
	delete(s.lost, session)
	if errors.Is(s.reason, ErrUnjoined) {
		s.until, s.reason = time.Time{}, nil
	}
	s.notify()
}

// Leave counts a session out that is over and asks for linger more. The longest that any asked for holds.
func (s *Stay) Leave(linger time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions--
	if until := time.Now().Add(linger); until.After(s.until) {
		s.until, s.reason = until, ErrLeft
	}
	s.notify()
}

// Lose counts a session out whose link was lost: it may come back.
func (s *Stay) Lose(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions--
	s.lost[session] = time.Now().Add(s.unjoined)
	s.notify()
}

// left tells that the last session left, and what remains of the time that was asked for.
func (s *Stay) left() (linger time.Duration, left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, reason := s.end()
	return max(0, time.Until(until)), errors.Is(reason, ErrLeft)
}

// end is when the agent may go while there is no session, and because of what.
func (s *Stay) end() (until time.Time, reason error) {
	until, reason = s.until, s.reason
	for _, waited := range s.lost {
		if waited.After(until) {
			until, reason = waited, ErrLost
		}
	}
	return until, reason
}

func (s *Stay) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run waits until the stay is over and returns why: ErrUnjoined, ErrLeft, ErrLost, ErrLifetime after lifetime, ErrTargetGone
// when exited is closed, or the cause of ctx's end.
func (s *Stay) Run(ctx context.Context, lifetime time.Duration, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lifetime, ErrLifetime)
	defer cancel()
	for {
		over, reason := s.idle()
		select {
		case <-ctx.Done():
			s.close()
			return context.Cause(ctx)
		case <-exited:
			s.close()
			return ErrTargetGone
		case <-over:
			if s.endIdle() {
				return reason
			}
		case <-s.changed:
		}
	}
}

func (s *Stay) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// endIdle ends the stay unless somebody came at the last moment.
func (s *Stay) endIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = s.sessions == 0 && s.greeting == 0
	return s.over
}

// idle returns when the agent may go and because of what; a nil channel while there are sessions or greetings.
func (s *Stay) idle() (over <-chan time.Time, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions > 0 || s.greeting > 0 {
		return nil, nil
	}
	until, reason := s.end()
	return time.After(time.Until(until)), reason
}
