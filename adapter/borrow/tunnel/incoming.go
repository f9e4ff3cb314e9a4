package tunnel

import (
	"context"
	"errors"
	"fmt"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// incoming dials the debuggee before it answers: a refused dial stays a refusal, and the agent fails over to the target.
func (t *Tunnel) incoming(ctx context.Context, stream *mux.Stream) (splice.Stats, error) {
	conn, err := t.admit(ctx, stream.Header)
	if err != nil {
		return splice.Stats{}, t.refuse(stream, err)
	}
	if err := open(stream, conn); err != nil {
		return splice.Stats{}, err
	}
	t.delivered.Add(1)
	return splice.Join(ctx, stream, conn, splice.Options{})
}

// refuse leaves a connection to the target, and returns why.
func (t *Tunnel) refuse(stream *mux.Stream, why error) error {
	t.refused.Add(1)
	_ = stream.Refuse(asRefusal(why))
	return fmt.Errorf("refused: %w", why)
}

// open answers yes for a connection of the debuggee's, nil for none yet. On error it ends both.
func open(stream *mux.Stream, conn splice.Conn) error {
	err := stream.Opened(wire.Answer{})
	if err == nil {
		return nil
	}
	if conn != nil {
		splice.Reset(conn)
	}
	stream.Reset()
	return fmt.Errorf("withdrawn: %w", err)
}

// admit waits for the debugger, where the policy has connections wait, and dials. A copy never waits: its target has
// answered already. A connection of which nothing is known but its bytes cannot be answered 503.
func (t *Tunnel) admit(ctx context.Context, h wire.Header) (splice.Conn, error) {
	pause := t.Pause
	if h.Kind == wire.KindCopy {
		pause = Pause{}
	}
	switch err := t.gate.pass(ctx, pause); {
	case errors.Is(err, errReject):
		return nil, paused("the debugger is stopped")
	case err != nil:
		return nil, err
	}
	return t.dial(ctx, h)
}
