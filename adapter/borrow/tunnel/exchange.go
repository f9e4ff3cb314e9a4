package tunnel

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// asker is who made a request and gets its response: an agent's stream, or a replay.
type asker interface {
	splice.Conn
	// Outcome comes before the response, with its first bytes, or instead of it.
	Outcome(o wire.Outcome, first []byte) error
}

// exchange is one request and its response. It is a joint of two ends, its front and its back. Its goroutines are the
// joint's, one that watches for a debuggee that hangs, and one that watches for the debugger while it has a probe; run waits for
// them.
type exchange struct {
	tunnel  *Tunnel
	header  wire.Header
	request *http1.Request
	// first are the bytes of the request that were read to know what it is.
	first []byte
	asker asker
	leg   *leg // of a request that goes to the debuggee
	rec   Recording

	response response
	told     bool // the asker knows the outcome
	// answering is a word of the race between the debuggee's first byte and the watch.
	answering atomic.Int32
	unwatch   context.CancelFunc
	// moved counts bytes of the request that the debuggee has taken.
	moved  atomic.Int64
	broken bool // the debuggee takes no more of the request
	// aborted says that the joint gave up, so that an end of the leg is not the debuggee's doing.
	aborted atomic.Bool

	mu       sync.Mutex
	asked    bool // the request's half is over
	switched bool // to another protocol
	parted   bool // the client says nothing more on its connection
}

// Words of the race.
const (
	undecided = iota
	answered
	hung
)

// run takes the request to the leg and the response to the asker, and returns when both are over. It reports whether the
// leg can carry another request; the caller closes it otherwise.
func (x *exchange) run(ctx context.Context) (keep bool, err error) {
	x.tunnel.delivered.Add(1)
	x.rec.SeenAs(x.header.From, 0)
	x.rec.Went(WentDebuggee, "")
	x.response = response{from: x.leg, method: x.request.Method, switched: x.goRaw}
	watching, unwatch := context.WithCancel(ctx)
	x.unwatch = unwatch
	var watch sync.WaitGroup
	if d := x.tunnel.HangTimeout; d > 0 {
		watch.Go(func() { x.tunnel.gate.watch(watching, d, &x.moved, x.hang) })
	}
	if x.header.Probe {
		watch.Go(func() { x.tunnel.gate.watchProbe(watching, x.hang) })
	}
	stats, err := splice.Join(ctx, front{x}, back{x}, splice.Options{HalfClosedIdle: -1})
	unwatch()
	watch.Wait()
	x.tunnel.logOf(x.header).Debug("delivered a request", zap.Int64("in", stats.AToB), zap.Int64("out", stats.BToA), zap.Error(err))
	return err == nil && x.response.keep && !x.request.Close && !x.broken, err
}

// hang gives the debuggee up, unless it has begun to answer.
func (x *exchange) hang() {
	if x.answering.CompareAndSwap(undecided, hung) {
		x.leg.reset()
	}
}

// goRaw lets the halves end as those of a connection.
func (x *exchange) goRaw() { x.ends(&x.switched) }

// part ends the connection's half behind the request: the client says nothing more.
func (x *exchange) part() { x.ends(&x.parted) }

// ends notes why the leg's half ends with the request, and ends it if that is over.
func (x *exchange) ends(why *bool) {
	x.mu.Lock()
	*why = true
	asked := x.asked
	x.mu.Unlock()
	if asked {
		_ = x.leg.conn.CloseWrite()
	}
}

func (x *exchange) isSwitched() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.switched
}

// fail tells the asker that there will be no answer.
func (x *exchange) fail() error {
	failure := x.tunnel.Fallback.closed(x.request)
	if x.answering.Load() == hung {
		failure = x.tunnel.late(x.header, x.request)
	}
	x.told = true
	x.rec.Went(instead(x.header, failure), failure.Text)
	return x.asker.Outcome(wire.Outcome{Failed: failure}, nil)
}

// front is the asker's end: the request is read from it, the outcome and the response are written to it.
type front struct{ *exchange }

func (f front) Read(b []byte) (int, error) {
	if len(f.first) > 0 {
		n := copy(b, f.first)
		f.first = f.first[n:]
		return n, nil
	}
	n, err := f.asker.Read(b)
	if n > 0 {
		f.rec.Request(b[:n])
	}
	return n, err
}

func (f front) Write(b []byte) (int, error) {
	f.rec.Response(b)
	if f.told {
		return f.asker.Write(b)
	}
	f.told = true
	if err := f.asker.Outcome(wire.Outcome{}, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f front) CloseWrite() error { return f.asker.CloseWrite() }
func (f front) Close() error      { return f.asker.Close() }
func (f front) Reset()            { splice.Reset(f.asker) }

// back is the debuggee's end: the request is written to its leg, the response is read from it.
type back struct{ *exchange }

// Read ends the response cleanly when there is none: the asker is told so instead.
func (b back) Read(p []byte) (int, error) {
	n, err := b.response.Read(p)
	if b.told || n == 0 && err == nil {
		return n, err
	}
	b.unwatch()
	if n > 0 && b.answering.CompareAndSwap(undecided, answered) {
		return n, err
	}
	if b.aborted.Load() || b.leg.ctx.Err() != nil {
		return 0, err
	}
	if err := b.fail(); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// Write drops what the debuggee does not take: it may have answered without it, and the rest has to be read from the client.
func (b back) Write(p []byte) (int, error) {
	if b.broken {
		return len(p), nil
	}
	n, err := b.leg.conn.Write(p)
	b.moved.Add(int64(n))
	if err != nil && b.isSwitched() {
		return n, err
	}
	b.broken = err != nil
	return len(p), nil
}

// CloseWrite leaves the leg open for the next request, unless it carries another protocol or none comes.
func (b back) CloseWrite() error {
	b.mu.Lock()
	b.asked = true
	ends := b.switched || b.parted
	b.mu.Unlock()
	if ends {
		return b.leg.conn.CloseWrite()
	}
	return nil
}

// Close does nothing: the leg outlives the request.
func (b back) Close() error { return nil }

func (b back) Reset() {
	b.aborted.Store(true)
	b.leg.reset()
}
