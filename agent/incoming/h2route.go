//go:build linux

package incoming

import (
	"slices"
	"strings"
	"time"

	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/internal/filter"
	"podstep.dev/internal/http1"
)

// contentWait is a request for whose content a filter waits.
type contentWait struct {
	x *h2exchange
	// claims are those that are not asked yet; the first waits for the content.
	claims []*steal
	// over is closed when it is decided, or given up.
	over chan struct{}
}

// chooses says whose a request is, nil for the target; needs are the claims whose first waits for the content.
func (m *interposer) chooses(r *sieve.Head, s *h2stream) (st *steal, needs []*steal) {
	claims := m.claimed()
	for i, st := range claims {
		if st.filter != nil {
			v := st.filter.Match(r.About)
			if v == filter.NeedsBody {
				// A client that waits for 100 (Continue) is not kept waiting.
				if !s.ended && !strings.EqualFold(r.Value("expect"), "100-continue") {
					return nil, claims[i:]
				}
				v = st.filter.MatchBody(r.About, nil, s.ended)
			}
			if v != filter.Yes {
				continue
			}
		}
		return st.orTarget(r), nil
	}
	return nil, nil
}

// orTarget is the claim, or nil when the target answers its request all the same.
func (st *steal) orTarget(r *sieve.Head) *steal {
	r.Probe = !r.Tunnel && st.isProbe(r.About)
	if r.Probe && !st.takesProbes() || !r.Probe && !st.takes() {
		return nil
	}
	return st
}

// undecide waits for a request's content. Its goroutine ends when that is decided.
func (m *interposer) undecide(s *h2stream, r *sieve.Head, claims []*steal) {
	u := &contentWait{m.newExchange(s, r.Keep(), nil), slices.Clone(claims), make(chan struct{})}
	s.undecided = u
	m.others.Go(func() {
		patience := time.NewTimer(bodyPatience)
		defer patience.Stop()
		select {
		case <-u.over:
			return
		case <-patience.C:
		}
		m.mu.Lock()
		if s.undecided == u {
			m.decide(s)
		}
		m.mu.Unlock()
		m.offerFresh()
		m.flushBoth()
	})
}

// contentOf takes in content of a request that is not decided, which is when as much of it is known as a filter looks into, or may be
// kept.
func (m *interposer) contentOf(s *h2stream, p []byte, size int) {
	x := s.undecided.x
	x.waiting = append(x.waiting, p...)
	x.credited += size
	m.credit(s, size)
	if s.ended || len(x.waiting) >= filter.MaxBody || !x.account() {
		m.decide(s)
	}
}

// settled ends the wait.
func (s *h2stream) settled() {
	if s.undecided != nil {
		close(s.undecided.over)
		s.undecided = nil
	}
}

// decide routes a request by what is known of its content.
func (m *interposer) decide(s *h2stream) {
	u, x := s.undecided, s.undecided.x
	s.settled()
	for i, st := range u.claims {
		if st.over.Err() == nil && st.wants(x, i > 0) {
			x.st = st.orTarget(x.r)
			break
		}
	}
	if x.st == nil || m.exchanges >= maxExchanges || !x.begin() {
		x.giveToTarget()
		return
	}
	_ = x.credit.Grant(x.granted)
}

// wants asks a filter about a request of which as much content is known as will be.
func (st *steal) wants(x *h2exchange, askHead bool) bool {
	if st.filter == nil {
		return true
	}
	v := filter.NeedsBody
	if askHead {
		v = st.filter.Match(x.r.About)
	}
	if v == filter.NeedsBody {
		v = st.filter.MatchBody(x.r.About, x.waiting, x.s.ended)
	}
	return v == filter.Yes
}

// like is a request's method and fields as HTTP/1 has them.
func like(r *sieve.Head) *http1.Request {
	like := &http1.Request{Method: r.About.Method}
	for i := range r.Len() {
		name, value := r.At(i)
		like.Fields = append(like.Fields, http1.Field{Name: name, Value: value})
	}
	return like
}
