//go:build linux

package incoming

import (
	"errors"
	"sync"
	"sync/atomic"

	"podstep.dev/agent/incoming/capture"
	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/internal/wire"
)

// sifter picks the requests of one connection that a mirror with a filter copies.
type sifter struct {
	*sieve.Sieve
	mirrored
	session *Subscriptions
	told    atomic.Bool

	mu sync.Mutex
	// seat is the connection's number in the link, 0 as long as it has no request of HTTP/2.
	seat uint64
}

// sift makes the sieve of a connection to a mirrored port, nil where all is copied.
func (s *Subscriptions) sift(port uint16) capture.Sieve {
	s.mu.Lock()
	m, ok := s.mirrors.ports[port]
	s.mu.Unlock()
	if !ok || m.filter == nil {
		return nil
	}
	return &sifter{Sieve: sieve.New(m.filter, m.probes.isProbe), mirrored: m, session: s}
}

// Take picks of the next bytes.
func (s *sifter) Take(b []byte, out capture.Copies) capture.Sifted {
	if s.over.Load() {
		// Another subscription of the port may follow, with another filter.
		return capture.Torn
	}
	err := s.Sieve.Take(b, out)
	s.tell(err)
	unread, _ := errors.AsType[*sieve.UnreadError](err)
	switch {
	case unread == nil:
		return capture.GoOn
	case unread.Torn:
		return capture.Torn
	default:
		return capture.Enough
	}
}

// End decides what is undecided.
func (s *sifter) End(out capture.Copies) { s.tell(s.Sieve.End(out)) }

// Close tells that no further request of the connection comes.
func (s *sifter) Close() {
	s.mu.Lock()
	seat := s.seat
	s.mu.Unlock()
	if seat != 0 {
		s.session.opts.Closed(seat)
	}
}

// sit is the number of the connection in the session's link.
func (s *sifter) sit() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seat == 0 {
		s.seat = s.session.seats.Add(1)
	}
	return s.seat
}

// tell counts the connection if it cannot be read.
func (s *sifter) tell(err error) {
	if unread, ok := errors.AsType[*sieve.UnreadError](err); ok {
		s.count(unread.Why)
	}
}

// count counts the connection, once.
func (s *sifter) count(why wire.Unread) {
	if s.told.CompareAndSwap(false, true) {
		s.session.unread.add(s.id, why)
	}
}

// older counts a connection that a filter cannot look into because its beginning was not seen.
func (s *Subscriptions) older(port uint16) {
	s.mu.Lock()
	m := s.mirrors.ports[port]
	s.mu.Unlock()
	if m.filter != nil {
		s.unread.add(m.id, wire.UnreadOld)
	}
}
