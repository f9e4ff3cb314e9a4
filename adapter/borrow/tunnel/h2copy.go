package tunnel

import (
	"context"
	"fmt"
	"math"

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

// serveCopy takes a copy to the debuggee at once, or not at all: it never waits, since its target has answered already, and no rule is about
// it. The agent sends it behind the answer. One that the debuggee cannot take is not recorded.
func (x *h2exchange) serveCopy(c *client, stream *mux.Stream) error {
	switch err := x.tunnel.gate.pass(x.ctx, Pause{}); {
	case isPaused(err):
		return x.miss(stream, asRefusal(err).Text)
	case err != nil:
		x.refuse(stream, err)
		return nil
	}
	return x.deliver(c, stream)
}

// miss has a copy that comes while the debugger is stopped recorded, for a replay.
func (x *h2exchange) miss(stream *mux.Stream, why string) error {
	defer context.AfterFunc(x.ctx, stream.Reset)()
	err := stream.Opened(wire.Answer{})
	if err == nil {
		x.record(x.tunnel.record(x.header))
		x.rec.Went(WentTarget, why)
		err = x.readHead(stream)
	}
	if err == nil {
		err = x.skip(math.MaxInt)
	}
	if err == nil {
		err = stream.CloseWrite()
	}
	if err != nil {
		return fmt.Errorf("record a copy: %w", err)
	}
	_, _ = x.in.Next() // the half's end
	return nil
}

// wentOn notes that the debuggee has the request.
func (x *h2exchange) wentOn() {
	if x.isCopy() {
		x.rec.Went(WentCopy, targetAnswered)
		return
	}
	x.rec.Went(WentDebuggee, "")
}
