package tunnel

import (
	"fmt"
	"time"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

// Fallback says when the target may answer a request that the debuggee got and did not begin to answer. That is so only for
// requests whose effect is the same when two servers have them.
type Fallback struct {
	// OnExit : the debuggee closed the connection, or ended.
	OnExit bool
	// OnHang : the debuggee took longer than the HangTimeout.
	OnHang bool
	// Idempotent : besides safe methods also idempotent ones, and requests with an Idempotency-Key.
	Idempotent bool
}

// late is what a request, or a probe, is told that the debuggee did not begin to answer in its time.
func (t *Tunnel) late(h wire.Header, r *http1.Request) *wire.Failure {
	if !h.Probe {
		return t.Fallback.hung(r, t.HangTimeout)
	}
	f := t.Fallback.closed(r)
	f.Text = "podstep: the debugger stopped, or the debuggee was slow to answer a probe"
	return f
}

// instead says who answers instead of the debuggee. A probe has no effect but its answer: it is always the target's then.
func instead(h wire.Header, f *wire.Failure) (where string) {
	if f.Fallback = f.Fallback || h.Probe; f.Fallback {
		return WentTarget
	}
	return WentNobody
}

// closed is what a request is told that the debuggee ended without an answer.
func (f Fallback) closed(r *http1.Request) *wire.Failure {
	return &wire.Failure{Status: 502, Fallback: f.OnExit && r.IsRepeatable(f.Idempotent), Text: "podstep: the debuggee closed the connection without an answer"}
}

// hung is what a request is told that the debuggee did not begin to answer within d.
func (f Fallback) hung(r *http1.Request, d time.Duration) *wire.Failure {
	return &wire.Failure{Status: 504, Fallback: f.OnHang && r.IsRepeatable(f.Idempotent), Text: fmt.Sprintf("podstep: the debuggee did not answer within %v", d)}
}
