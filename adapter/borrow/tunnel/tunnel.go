// Package tunnel is the adapter's end of the link: it takes incoming streams of the agent to the debuggee's ports. It
// decides whether a connection or a request may go there at this moment, and says what became of it. It changes no byte of
// either; of HTTP it knows where a response ends.
package tunnel

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// Deliver connects to the debuggee's port. The debuggee sees from as the peer and to as its own address. Its error
// carries an errno: ECONNREFUSED when nobody listens.
type Deliver func(ctx context.Context, port uint16, from, to netip.AddrPort) (splice.Conn, error)

// Tunnel delivers incoming streams. Its goroutines are those of the streams it handles, and one for each leg that waits for
// its client's next request: the link's owner waits for the former, its Clients for the latter. What is set is not changed
// after the first Serve.
type Tunnel struct {
	// Log receives a line for each connection and request, at debug level. If nil, nothing is logged.
	Log *zap.Logger
	// Ports are the debuggee's ports by the target's. If nil, they are the same.
	Ports map[uint16]uint16
	// Deliver reaches the debuggee. Required.
	Deliver Deliver
	// Pause is what becomes of what comes while the debugger is stopped. The zero value: it goes to the target.
	Pause Pause
	// Fallback says when the target may answer what the debuggee did not. The zero value: never.
	Fallback Fallback
	// HangTimeout is how long the debuggee may take to begin its answer, without the time for which the debugger is stopped. If
	// zero, for ever.
	HangTimeout time.Duration
	// TLS are the debuggee's ports that speak TLS, by the target's, for clients that did. If nil, none.
	TLS map[uint16]TLS
	// TLSFailed is told that one of them did not. It must not block. If nil, nobody is told.
	TLSFailed func(port uint16, err error)
	// NotHTTP2 is told of a port of the target's at which the debuggee does not speak HTTP/2, as its client and the target do. It must not
	// block. If nil, nobody is told.
	NotHTTP2 func(port uint16, err error)
	// Recorder hears of every request. If nil, nothing is recorded, and held requests have no ids to release them by.
	Recorder Recorder
	// Holding is told of each request that a rule holds, and Released how it went on. They must not block. If nil, nobody is told.
	Holding  func(Held)
	Released func(Held, Release)

	gate      gate
	rules     rules
	held      held
	delivered atomic.Int64
	refused   atomic.Int64
	rejected  atomic.Int64
	failed    atomic.Int64
	replays   atomic.Uint32
}

// Counts says what became of the connections and requests so far.
type Counts struct {
	// Delivered ones reached the debuggee; Refused ones went on to the target; Rejected ones were answered 503, because the
	// debugger was stopped.
	Delivered, Refused, Rejected int64
	// Failed ones were answered as a rule or a person wanted.
	Failed int64
	// Held ones wait at this moment for the debugger to go on, or for somebody to release them.
	Held int64
}

// SetPaused says whether the debugger is stopped. Dialling a stopped debuggee succeeds (the kernel's backlog takes the
// connection), so without it a client would wait for the person at the breakpoint.
func (t *Tunnel) SetPaused(paused bool) { t.gate.set(paused) }

// End leaves all that comes from now on to the target, and what waits for the debugger: the session ends. What the debuggee has goes on.
func (t *Tunnel) End() { t.gate.end() }

// Counts may be called at any time.
func (t *Tunnel) Counts() Counts {
	return Counts{
		Delivered: t.delivered.Load(), Refused: t.refused.Load(), Rejected: t.rejected.Load(), Failed: t.failed.Load(), Held: t.gate.held() + t.held.count(),
	}
}

// Port returns the debuggee's port for one of the target's, and whether it has one.
func (t *Tunnel) Port(target uint16) (uint16, bool) {
	if t.Ports == nil {
		return target, true
	}
	port, ok := t.Ports[target]
	return port, ok
}

// Serve handles one stream of the agent until it is over. It owns the stream. The end of ctx resets it. clients are those of
// the stream's link.
func (t *Tunnel) Serve(ctx context.Context, clients *Clients, stream *mux.Stream) {
	switch stream.Header.Kind {
	case wire.KindIncoming:
		stats, err := t.incoming(ctx, stream)
		t.logJoint(stream.Header, stats, err)
	case wire.KindCopy:
		stats, err := t.copy(ctx, stream)
		t.logJoint(stream.Header, stats, err)
	case wire.KindRequest:
		t.request(ctx, clients, stream)
	case wire.KindRequestCopy:
		t.requestH2(ctx, clients, stream, copyStream{stream}, unrecorded{})
	default:
		_ = stream.Refuse(&wire.Refusal{Errno: syscall.EOPNOTSUPP, Reason: wire.ReasonUnsupported, Text: "unknown stream kind " + string(stream.Header.Kind)})
	}
}

// dial connects to the debuggee's port for h.
func (t *Tunnel) dial(ctx context.Context, h wire.Header) (splice.Conn, error) {
	port, ok := t.Port(h.Port)
	if !ok {
		return nil, &wire.Refusal{Errno: syscall.ECONNREFUSED, Text: "the port is not served"}
	}
	conn, err := t.Deliver(ctx, port, h.From, h.To)
	if err != nil || h.TLS == nil {
		return conn, err
	}
	return t.secure(ctx, conn, h)
}

func (t *Tunnel) logJoint(h wire.Header, stats splice.Stats, err error) {
	t.logOf(h).Debug("connection ended", zap.Int64("in", stats.AToB), zap.Int64("out", stats.BToA), zap.Error(err))
}

func (t *Tunnel) logOf(h wire.Header) *zap.Logger {
	if t.Log == nil {
		return zap.NewNop()
	}
	return t.Log.With(zap.Uint16("port", h.Port), zap.Stringer("from", h.From))
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
