package tunnel

import (
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// copyStream is the stream of a copied request: what the debuggee answers is dropped, but its end is the stream's.
type copyStream struct{ *mux.Stream }

func (c copyStream) Write(b []byte) (int, error) { return len(b), nil }

// Outcome is for who waits for an answer.
func (c copyStream) Outcome(wire.Outcome, []byte) error { return nil }

// isCopy says that the target answers the request.
func (x *h2exchange) isCopy() bool { return x.header.Kind == wire.KindRequestCopy }

// serveCopy takes a copy to the debuggee at once, or not at all: it never waits, since its target has answered already, and no rule is about it.
func (x *h2exchange) serveCopy(c *client, stream *mux.Stream) error {
	if err := x.tunnel.gate.pass(x.ctx, Pause{}); err != nil {
		x.refuse(stream, err)
		return nil
	}
	return x.deliver(c, stream)
}

// wentOn notes that the debuggee has the request.
func (x *h2exchange) wentOn() {
	if x.isCopy() {
		x.rec.Went(WentCopy, targetAnswered)
		return
	}
	x.rec.Went(WentDebuggee, "")
}
