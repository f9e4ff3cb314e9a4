package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

// Ports that replays come from, one after the other: those that clients have (RFC 6335 §6).
const (
	firstReplayPort = 49152
	replayPorts     = 1 << 14
)

// Replay sends a request to the debuggee again, on a connection of its own from a loopback address, and returns when it has
// been answered. port is the target's; raw is the request from its head to the end of its body. rec, which may be nil, hears of
// the response; Replay ends it. The link has no part in it. It is delivered whether the debugger is stopped or not.
func (t *Tunnel) Replay(ctx context.Context, port uint16, raw []byte, rec Recording) error {
	if rec == nil {
		rec = unrecorded{}
	}
	err := t.replay(ctx, port, raw, rec)
	rec.End(err)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return nil
}

func (t *Tunnel) replay(ctx context.Context, port uint16, raw []byte, rec Recording) error {
	request, err := http1.ParseRequest(raw)
	if err != nil {
		return err
	}
	if request == nil {
		return errors.New("the request is not complete")
	}
	host, _ := http1.Value(request.Fields, "Host")
	h := t.replayHeader(port, wire.HTTP1, host)
	conn, err := t.dial(ctx, h)
	if err != nil {
		return err
	}
	again := &replayer{Reader: bytes.NewReader(raw)}
	x := &exchange{tunnel: t, header: h, request: request, asker: again, rec: rec, leg: newLeg(ctx, conn)}
	defer x.leg.close()
	if _, err := x.run(ctx); err != nil {
		return err
	}
	return again.failed
}

// replayer asks what is in it. Nobody waits for the response but the recording.
type replayer struct {
	*bytes.Reader
	failed error
}

func (r *replayer) Outcome(o wire.Outcome, _ []byte) error {
	if o.Failed != nil {
		r.failed = errors.New(o.Failed.Text)
	}
	return nil
}

func (r *replayer) Write(b []byte) (int, error) { return len(b), nil }
func (r *replayer) CloseWrite() error           { return nil }
func (r *replayer) Close() error                { return nil }
