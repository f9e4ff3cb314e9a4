package capture

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/splice"
)

// minChunk is the least memory that waiting bytes take; small packets share it.
const minChunk = 4 << 10

// afterEnd is how long a copy stays open after the client's end: a debuggee that stands at a breakpoint reads later.
const afterEnd = 10 * time.Minute

// tuple names a connection.
type tuple struct{ from, to netip.AddrPort }

// ending says how a connection, or its copy, is over.
type ending int

const (
	underWay ending = iota
	byFIN
	byRST
	givenUp
	leftOut
)

// replica is the copy of one connection, or of some of it that a sieve picks. The tracker adds bytes and the end; its writer takes them
// away. One of a sieve is over when who reads it ends it, and another one may follow.
type replica struct {
	origin Origin
	// whole is the tracker's note that all of it was added.
	whole bool
	// total is the memory of all replicas.
	total *atomic.Int64
	// abort ends the writer at once.
	abort context.CancelFunc
	// wake has room for one: something changed.
	wake chan struct{}

	mu     sync.Mutex
	chunks [][]byte
	// held is the memory of chunks and of the chunk being written.
	held   int
	ending ending
	late   *time.Timer
}

func newReplica(o Origin, total *atomic.Int64, abort context.CancelFunc) *replica {
	return &replica{origin: o, total: total, abort: abort, wake: make(chan struct{}, 1)}
}

// add queues a copy of b. After the end it does nothing.
func (r *replica) add(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending != underWay {
		return
	}
	if n := len(r.chunks); n > 0 {
		last := r.chunks[n-1]
		fit := min(len(b), cap(last)-len(last))
		r.chunks[n-1] = append(last, b[:fit]...)
		b = b[fit:]
	}
	if len(b) > 0 {
		chunk := append(make([]byte, 0, max(len(b), minChunk)), b...)
		r.chunks = append(r.chunks, chunk)
		r.hold(cap(chunk))
	}
	r.notify()
}

// close ends a copy that is not read any more, unless something waits, and says whether it did.
func (r *replica) close() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.chunks) > 0 || r.ending != underWay {
		return false
	}
	r.ending = byFIN
	return true
}

// end says how the connection is over; what was added is still written. The first end counts.
func (r *replica) end(how ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending != underWay {
		return
	}
	r.ending = how
	r.late = time.AfterFunc(afterEnd, r.abort)
	r.notify()
}

// drop gives the copy up: what waits is forgotten, whoever reads it sees a reset.
func (r *replica) drop() {
	r.abort()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ending = givenUp
	for _, c := range r.chunks {
		r.hold(-cap(c))
	}
	r.chunks = nil
	if r.late != nil {
		r.late.Stop()
	}
}

// over says that nothing can be added.
func (r *replica) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ending != underWay
}

// size is what giving the copy up would free.
func (r *replica) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending == givenUp {
		return 0
	}
	return r.held
}

func (r *replica) hold(n int) {
	r.held += n
	r.total.Add(int64(n))
}

func (r *replica) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take returns the next chunk, or nil and how the connection is over.
func (r *replica) take() ([]byte, ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.chunks) == 0 {
		return nil, r.ending
	}
	c := r.chunks[0]
	r.chunks[0] = nil
	r.chunks = r.chunks[1:]
	return c, underWay
}

// give returns the memory of a chunk that was taken.
func (r *replica) give(chunk []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold(-cap(chunk))
}

// run opens the copy and carries it until its end, ctx's end or an error of whoever reads it.
func (r *replica) run(ctx context.Context, deliver Deliver, log *zap.Logger) {
	log = log.With(zap.Stringer("from", r.origin.From), zap.Stringer("to", r.origin.To))
	defer r.drop()
	conn, err := deliver(ctx, r.origin)
	if err != nil {
		log.Debug("copy refused", zap.Error(err))
		return
	}
	hangUp := context.AfterFunc(ctx, func() { splice.Reset(conn) })
	defer hangUp()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, conn)
	}()
	var over chan struct{}
	if r.origin.Sieve != nil {
		over = drained
	}
	how, err := r.write(ctx, conn, over)
	if err == nil && how == byFIN {
		err = conn.CloseWrite()
	}
	log.Debug("copy over", zap.Bool("fin", how == byFIN), zap.Error(err))
	if err != nil || how != byFIN {
		splice.Reset(conn)
	}
	<-drained
	_ = conn.Close()
}

// write writes what is added until the end, and returns the end. over, if
// any, is closed when whoever reads the copy has ended it.
func (r *replica) write(ctx context.Context, w io.Writer, over <-chan struct{}) (ending, error) {
	for {
		chunk, how := r.take()
		if how != underWay {
			return how, nil
		}
		if chunk != nil {
			_, err := w.Write(chunk)
			r.give(chunk)
			if err != nil {
				return underWay, err
			}
			continue
		}
		select {
		case <-r.wake:
		case <-over:
			if r.close() {
				return byFIN, nil
			}
		case <-ctx.Done():
			return underWay, context.Cause(ctx)
		}
	}
}
