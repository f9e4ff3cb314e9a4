//go:build linux

package incoming

import (
	"time"

	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/internal/filter"
	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

// bodyPatience is for a body that a filter looks into; what comes later is judged by what there is.
const bodyPatience = 5 * time.Second

// route says whose a request is, nil for the target's, and whether it is a probe.
func (v *conversation) route(req *http1.Request) (of *steal, probe bool) {
	var seen content
	for _, st := range v.claimed() {
		if st.filter != nil && !v.matches(st.filter, req, &seen) {
			continue
		}
		probe := st.isProbe(sieve.About(req))
		if probe && !st.takesProbes() || !probe && !st.takes() {
			return nil, probe
		}
		return st, probe
	}
	return nil, false
}

// matches asks a filter, and lets it look into the body if need be.
func (v *conversation) matches(f *filter.Matcher, req *http1.Request, seen *content) bool {
	about := sieve.About(req)
	switch f.Match(about) {
	case filter.Yes:
		return true
	case filter.No:
		return false
	}
	if !seen.looked {
		*seen = v.peek(req)
	}
	return f.MatchBody(about, seen.text, seen.complete) == filter.Yes
}

// content is what a filter may look into of a request's content; it is waited for once, however many filters there are.
type content struct {
	text             []byte
	looked, complete bool
}

// peek waits for as much of a request's content as a filter may look into. req may be older than the bytes are then.
func (v *conversation) peek(req *http1.Request) content {
	_ = v.client.conn.SetReadDeadline(time.Now().Add(bodyPatience))
	defer func() { _ = v.client.conn.SetReadDeadline(time.Time{}) }()
	head, n := len(req.Raw), 0
	for scanner := req.Body.Scanner(); ; {
		m, done, err := scanner.Take(v.in.bytes()[head+n:])
		n += m
		// A client that waits for 100 (Continue) is not kept waiting: it sends nothing before somebody has its request.
		if done || err != nil || n >= filter.MaxBody || req.Expect {
			break
		}
		if err := v.in.fill(); err != nil {
			if isTimeout(err) {
				v.in.end = nil
			}
			break
		}
	}
	text, complete := sieve.Content(req.Body, v.in.bytes()[head:head+n])
	return content{text, true, complete}
}

// all is the claim of a session that takes all requests, if there is one.
func (v *conversation) all() *steal {
	for _, st := range v.claimed() {
		if st.filter == nil {
			return st
		}
	}
	return nil
}

// takes says whether it makes sense to ask the session's adapter now.
func (st *steal) takes() bool {
	return st.params.OnPause == wire.PauseHold || st.params.OnPause == wire.PauseReject || st.session.paused.Load() == nil
}
