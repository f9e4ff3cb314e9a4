//go:build linux

package incoming

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"

	"podstep.dev/internal/filter"
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
func (st *steal) isProbe(r filter.Request) bool {
	if st.probes.isProbe(r) {
		return true
	}
	if st.declared == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	return st.declared.Match(r) == filter.Yes
}

// isProbe says whether a request is the kubelet's: one of HTTP/1, or of HTTP/2 by a mesh in its place.
func (p probes) isProbe(r filter.Request) bool {
	if len(p) == 0 || r.Method != http.MethodGet || !p.has(r.Target) {
		return false
	}
	for i := range r.Fields.Len() {
		if name, value := r.Fields.At(i); strings.EqualFold(name, "User-Agent") {
			return strings.HasPrefix(value, prober)
		}
	}
	return false
}

// takesProbes says whether the adapter is asked to take a probe: while the debugger is stopped, probes are the target's. The adapter knows
// of that first and has the last word.
func (st *steal) takesProbes() bool {
	return st.params.ProbesTo == wire.ProbesDebuggee && st.session.paused.Load() == nil
}
