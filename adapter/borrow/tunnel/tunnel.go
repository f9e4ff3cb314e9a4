// Package tunnel is the adapter's end of the link: it takes incoming streams of the agent to the debuggee's ports. It
// decides only whether a connection may go there at this moment; what the bytes mean is not its business.
package tunnel

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"syscall"

	"go.uber.org/zap"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// Deliver connects to the debuggee's port. The debuggee sees from as the peer and to as its own address. Its error
// carries an errno: ECONNREFUSED when nobody listens.
type Deliver func(ctx context.Context, port uint16, from, to netip.AddrPort) (splice.Conn, error)

// Tunnel delivers incoming streams. Its goroutines are those of the streams it handles: the link's owner waits for them.
type Tunnel struct {
	// Log receives a line for each connection, at debug level. If nil, nothing is logged.
	Log *zap.Logger
	// Ports are the debuggee's ports by the target's. If nil, they are the same.
	Ports map[uint16]uint16
	// Deliver reaches the debuggee. Required.
	Deliver Deliver

	paused    atomic.Bool
	delivered atomic.Int64
	refused   atomic.Int64
}

// Counts says what became of the connections so far.
type Counts struct {
	// Delivered connections reached the debuggee; Refused ones went on to the target.
	Delivered, Refused int64
}

// SetPaused says whether the debugger is stopped. Dialling a stopped debuggee succeeds (the kernel's backlog takes the
// connection), so without it a client would wait for the person at the breakpoint.
func (t *Tunnel) SetPaused(paused bool) { t.paused.Store(paused) }

// Counts may be called at any time.
func (t *Tunnel) Counts() Counts {
	return Counts{Delivered: t.delivered.Load(), Refused: t.refused.Load()}
}

// Port returns the debuggee's port for one of the target's, and whether it has one.
func (t *Tunnel) Port(target uint16) (uint16, bool) {
	if t.Ports == nil {
		return target, true
	}
	port, ok := t.Ports[target]
	return port, ok
}

// Serve handles one stream of the agent until it is over. It owns the stream. The end of ctx resets it.
func (t *Tunnel) Serve(ctx context.Context, stream *mux.Stream) {
	switch stream.Header.Kind {
	case wire.KindIncoming, wire.KindCopy:
		t.incoming(ctx, stream)
	default:
		_ = stream.Refuse(&wire.Refusal{Errno: syscall.EOPNOTSUPP, Reason: wire.ReasonUnsupported, Text: "unknown stream kind " + string(stream.Header.Kind)})
	}
}

// incoming dials the debuggee before it answers: a refused dial stays a refusal, and the agent fails over to the target.
func (t *Tunnel) incoming(ctx context.Context, stream *mux.Stream) {
	h := stream.Header
	log := t.log().With(zap.Uint16("port", h.Port), zap.Stringer("from", h.From))
	conn, err := t.dial(ctx, h)
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
		stats, err = splice.Join(ctx, mute{stream}, conn, splice.Options{})
	} else {
		stats, err = splice.Join(ctx, stream, conn, splice.Options{})
	}
	log.Debug("delivered", zap.Int64("in", stats.AToB), zap.Int64("out", stats.BToA), zap.Error(err))
}

func (t *Tunnel) dial(ctx context.Context, h wire.Header) (splice.Conn, error) {
	if t.paused.Load() {
		return nil, &wire.Refusal{Errno: syscall.EAGAIN, Reason: wire.ReasonPaused, Text: "the debugger is stopped"}
	}
	port, ok := t.Port(h.Port)
	if !ok {
		return nil, &wire.Refusal{Errno: syscall.ECONNREFUSED, Text: "the port is not served"}
	}
	return t.Deliver(ctx, port, h.From, h.To)
}

func (t *Tunnel) log() *zap.Logger {
	if t.Log == nil {
		return zap.NewNop()
	}
	return t.Log
}

func asRefusal(err error) *wire.Refusal {
	var refusal *wire.Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	errno := syscall.ECONNREFUSED
	errors.As(err, &errno)
	return &wire.Refusal{Errno: errno, Text: err.Error()}
}

// mute drops what the debuggee answers to a copy. The copy's end is still the debuggee's end of reading.
type mute struct{ *mux.Stream }

func (m mute) Write(b []byte) (int, error) { return len(b), nil }
