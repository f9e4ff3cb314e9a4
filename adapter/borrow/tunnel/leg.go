package tunnel

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"podstep.dev/internal/splice"
)

// leg is one connection of the debuggee. It is used by one request at a time; between two of them it is watched, so that its
// end is noticed before a request is written to it.
type leg struct {
	conn splice.Conn
	ctx  context.Context //nolint:containedctx // the client's lifetime, or a replay's
	// forget undoes what ends the leg with ctx.
	forget func() bool
	idle   atomic.Bool
	// watched has what an idle leg's watch has read, once; nil while there is none.
	watched chan read
	// ahead was read by the watch and is not used yet.
	ahead read
}

// read is what one Read returned.
type read struct {
	b   []byte
	err error
}

// watchSize is how much of a response the watch takes at most, with the first read of it.
const watchSize = 4 << 10

// newLeg owns conn. The end of ctx ends it.
func newLeg(ctx context.Context, conn splice.Conn) *leg {
	l := &leg{conn: conn, ctx: ctx}
	l.forget = context.AfterFunc(ctx, l.reset)
	return l
}

// rest has the leg wait for the next request.
func (l *leg) rest(watches *sync.WaitGroup) {
	l.idle.Store(true)
	l.watched = make(chan read, 1)
	watches.Go(func() {
		b := make([]byte, watchSize)
		n, err := l.conn.Read(b)
		l.watched <- read{b[:n], err}
		if err != nil {
			l.close()
		}
	})
}

// resume ends the rest. It reports false when the debuggee ended the connection meanwhile, or said something unasked.
func (l *leg) resume() bool {
	l.idle.Store(false)
	select {
	case <-l.watched:
		return false
	default:
		return l.ctx.Err() == nil && quiet(l.conn)
	}
}

// Read reads what the debuggee sends.
func (l *leg) Read(b []byte) (int, error) {
	if l.watched != nil {
		l.ahead = <-l.watched
		l.watched = nil
	}
	if len(l.ahead.b) > 0 {
		n := copy(b, l.ahead.b)
		l.ahead.b = l.ahead.b[n:]
		return n, nil
	}
	if l.ahead.err != nil {
		return 0, l.ahead.err
	}
	return l.conn.Read(b)
}

// close ends the leg as a client does that is content. nil is none.
func (l *leg) close() {
	if l == nil {
		return
	}
	l.forget()
	_ = l.conn.Close()
}

// reset ends the leg in the midst of a request: as a client that went away does, else by a reset. close follows.
func (l *leg) reset() {
	if l.idle.Load() || errors.Is(context.Cause(l.ctx), errGone) {
		_ = l.conn.Close()
		return
	}
	splice.Reset(l.conn)
}
