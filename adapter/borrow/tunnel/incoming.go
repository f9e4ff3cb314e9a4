package tunnel

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// incoming dials the debuggee before it answers: a refused dial stays a refusal, and the agent fails over to the target.
func (t *Tunnel) incoming(ctx context.Context, stream *mux.Stream) {
	h := stream.Header
	log := t.logOf(h)
	conn, err := t.admit(ctx, h)
	if err != nil {
		t.refused.Add(1)
		log.Debug("refused", zap.Error(err))
		_ = stream.Refuse(asRefusal(err))
		return
	}
	if err := stream.Opened(wire.Answer{}); err != nil {
		log.Debug("withdrawn", zap.Error(err))
		splice.Reset(conn)
		stream.Reset()
		return
	}
	t.delivered.Add(1)
	var stats splice.Stats
	if h.Kind == wire.KindCopy {
		observer := t.observe(stream)
		stats, err = splice.Join(ctx, copied{stream, observer}, conn, splice.Options{})
		observer.ended()
	} else {
		stats, err = splice.Join(ctx, stream, conn, splice.Options{})
	}
	log.Debug("delivered", zap.Int64("in", stats.AToB), zap.Int64("out", stats.BToA), zap.Error(err))
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
