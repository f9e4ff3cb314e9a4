//go:build linux

package incoming

import (
	"errors"
	"net/http"
	"strings"

	"podstep.dev/agent/incoming/capture"
	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

// sifter picks the requests of one connection that a mirror with a filter copies.
type sifter struct {
	*sieve.Sieve
	mirrored
	unread *unread
	told   bool
}

// sift makes the sieve of a connection to a mirrored port, nil where all is copied.
func (s *Subscriptions) sift(port uint16) capture.Sieve {
	s.mu.Lock()
	m, ok := s.mirrors.ports[port]
	s.mu.Unlock()
	if !ok || m.filter == nil {
		return nil
	}
	return &sifter{Sieve: sieve.New(m.filter, m.probes.isProbe), mirrored: m, unread: s.unread}
}

// Take picks of the next bytes.
func (s *sifter) Take(b []byte, keep func(p []byte, begins bool)) capture.Sifted {
	if s.over.Load() {
		// Another subscription of the port may follow, with another filter.
		return capture.Torn
	}
	err := s.Sieve.Take(b, keep)
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
func (s *sifter) End(keep func(p []byte, begins bool)) { s.tell(s.Sieve.End(keep)) }

// tell counts the connection, once.
func (s *sifter) tell(err error) {
	if unread, ok := errors.AsType[*sieve.UnreadError](err); ok && !s.told {
		s.told = true
		s.unread.add(s.id, unread.Why)
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

// isProbe says whether a request is the kubelet's.
func (p probes) isProbe(req *http1.Request) bool {
	if len(p) == 0 || req.Method != http.MethodGet {
		return false
	}
	agent, _ := http1.Value(req.Fields, "User-Agent")
	return strings.HasPrefix(agent, prober) && p.has(req.Target)
}
