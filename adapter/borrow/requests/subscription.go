package requests

import (
	"context"
	"slices"
)

// Subscription tells one reader which requests came or changed. What a slow reader has not read yet is told once, as it is when it reads;
// what has left the log meanwhile is counted.
type Subscription struct {
	log     *Log
	ready   chan struct{}   // has an element when there may be something to read
	pending map[uint64]bool // kept requests; the log's lock guards these two
	lost    int
}

// Subscribe begins to note changes. The caller calls Close.
func (l *Log) Subscribe() *Subscription {
	s := &Subscription{log: l, ready: make(chan struct{}, 1), pending: map[uint64]bool{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscriptions = append(slices.Clip(l.subscriptions), s)
	return s
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.subscriptions = slices.DeleteFunc(slices.Clone(s.log.subscriptions), func(o *Subscription) bool { return o == s })
}

// Next blocks until something came or changed, or ctx ends: then with ctx's cause. It returns what did, without secrets, the oldest first; of more
// than limit the last ones, a limit of 0 is none. omitted counts the others, and those that left the log before they were read.
func (s *Subscription) Next(ctx context.Context, limit int) (changed []Summary, omitted int, err error) {
	for {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
		s.log.mu.Lock()
		pending := s.pending
		omitted, s.lost, s.pending = s.lost, 0, map[uint64]bool{}
		kept := s.log.snapshot(func(r *record) bool { return pending[r.id] })
		s.log.mu.Unlock()
		if more := len(kept) - limit; limit > 0 && more > 0 {
			kept, omitted = kept[more:], omitted+more
		}
		for _, r := range kept {
			changed = append(changed, r.summary(Masked))
		}
		if len(changed) > 0 || omitted > 0 {
			return changed, omitted, nil
		}
	}
}

// changed notes a change; the log's lock is held.
func (s *Subscription) changed(id uint64) {
	s.pending[id] = true
	s.wake()
}

// dropped notes that a request has left the log; the log's lock is held.
func (s *Subscription) dropped(id uint64) {
	if s.pending[id] {
		delete(s.pending, id)
		s.lost++
		s.wake()
	}
}

func (s *Subscription) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}
