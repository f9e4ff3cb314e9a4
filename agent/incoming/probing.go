//go:build linux

package incoming

import (
	"fmt"
	"net/http"
	"syscall"

	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/internal/filter"
	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

// declaredProbes reads a subscription's filter of probes, nil for none. An error is a *wire.Refusal.
func declaredProbes(p wire.SubscribeParams) (*filter.Matcher, error) {
	if len(p.ProbeFilter) == 0 {
		return nil, nil
	}
	f, err := filter.Parse(p.ProbeFilter)
	if err != nil {
		return nil, &wire.Refusal{Errno: syscall.EINVAL, Text: fmt.Sprintf("%s port %d: the filter of probes: %v", p.Mode, p.Port, err)}
	}
	return f.Matcher(), nil
}

// isProbe says whether a request is a probe: the kubelet's, or one that the session declares.
func (st *steal) isProbe(req *http1.Request) bool {
	if st.probes.isProbe(req) {
		return true
	}
	if st.declared == nil || req.Method != http.MethodGet && req.Method != http.MethodHead {
		return false
	}
	return st.declared.Match(sieve.About(req)) == filter.Yes
}

// takesProbes says whether the adapter is asked to take a probe: while the debugger is stopped, probes are the target's. The adapter knows
// of that first and has the last word.
func (st *steal) takesProbes() bool {
	return st.params.ProbesTo == wire.ProbesDebuggee && st.session.paused.Load() == nil
}
