package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/wire"
)

// ReplayHTTP2 is Replay of a request of HTTP/2; raw is a message of package h2.
func (t *Tunnel) ReplayHTTP2(ctx context.Context, port uint16, raw []byte, rec Recording) error {
	if rec == nil {
		rec = unrecorded{}
	}
	err := t.replayH2(ctx, port, raw, rec)
	rec.End(err)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return nil
}

func (t *Tunnel) replayH2(ctx context.Context, port uint16, raw []byte, rec Recording) error {
	again := &h2replayer{replayer: replayer{Reader: bytes.NewReader(raw)}}
	x := t.newH2exchange(wire.Header{}, again, rec)
	x.ctx, x.cancel = context.WithCancelCause(ctx)
	defer x.cancel(nil)
	head, err := x.in.Next()
	if err != nil || h2.Value(head.Fields, ":method") == "" {
		return errors.New("the request is not complete")
	}
	head.Fields = slices.Clone(head.Fields)
	x.head, x.whole = head, head.End
	authority := h2.Value(head.Fields, ":authority")
	x.header = t.replayHeader(port, wire.HTTP2, authority)
	l, err := t.dialH2(x.ctx, x.header, x.asking.Go)
	if err != nil {
		return err
	}
	defer x.asking.Wait()
	defer l.close()
	if err := l.reserve(x.ctx); err != nil {
		return err
	}
	if err := x.run(l, func() (*h2leg, error) { return nil, errLegOver }); err != nil {
		return err
	}
	return again.failed
}

// replayHeader is that of a replay to a port of the target.
func (t *Tunnel) replayHeader(port uint16, protocol, host string) wire.Header {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	h := wire.Header{
		Kind: wire.KindRequest, Port: port, Protocol: protocol, To: netip.AddrPortFrom(loopback, port),
		From: netip.AddrPortFrom(loopback, firstReplayPort+uint16((t.replays.Add(1)-1)%replayPorts)),
	}
	if _, ok := t.TLS[port]; ok {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		h.TLS = &wire.Secured{ServerName: host, Protocol: "http/1.1"}
		if protocol == wire.HTTP2 {
			h.TLS.Protocol = "h2"
		}
	}
	return h
}

// h2replayer asks what is in it. Nobody waits for the response but the recording; one that was reset failed.
type h2replayer struct{ replayer }

// Write reads the response only for its resets.
func (r *h2replayer) Write(b []byte) (int, error) {
	var reset *h2.ResetError
	if _, err := h2.NewReader(bytes.NewReader(b)).Next(); errors.As(err, &reset) && r.failed == nil {
		r.failed = reset
	}
	return len(b), nil
}
