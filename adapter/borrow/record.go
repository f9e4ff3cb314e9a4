package borrow

import (
	"context"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/internal/wire"
)

// recorder lets the tunnel record in the log.
type recorder struct{ log *requests.Log }

func (r recorder) Begin(h wire.Header) tunnel.Recording { return r.log.Begin(h) }

// replay lets the log send a request again. The log has none before the tunnel is ready.
func (b *Borrow) replay(ctx context.Context, port uint16, raw []byte, rec *requests.Recording) error {
	if rec.Protocol() == wire.HTTP2 {
		return b.tunnel.ReplayHTTP2(ctx, port, raw, rec)
	}
	return b.tunnel.Replay(ctx, port, raw, rec)
}
