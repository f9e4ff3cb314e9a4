// Package splice joins two connections and keeps half-closed ones working. It knows nothing of what flows through.
package splice

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is a connection whose halves end separately. *net.TCPConn, *net.UnixConn and *mux.Stream are.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Options of Join. The zero value works.
type Options struct {
	// HalfClosedIdle ends a joint whose one half is over when the other half carries nothing for so long. If zero, 10 min; if
	// negative, nothing does.
	HalfClosedIdle time.Duration
	// Buffers bounds the memory of joints. If nil, nothing does.
	Buffers *Buffers
}

// Buffers bounds the large buffers of several joints, of 64 KiB each: one that gets none goes on with a small one.
type Buffers struct{ left atomic.Int64 }

// NewBuffers allows so many bytes of large buffers.
func NewBuffers(bytes int) *Buffers {
	b := &Buffers{}
	b.left.Store(int64(bytes / large))
	return b
}

// Take returns a buffer of 64 KiB, or nil when there is none. Give takes it back.
func (b *Buffers) Take() []byte {
	if !b.take() {
		return nil
	}
	return *buffers.Get().(*[]byte)
}

// Give takes back what Take returned.
func (b *Buffers) Give(p []byte) {
	buffers.Put(&p)
	b.give()
}

func (b *Buffers) take() bool { return b.takeAll(1) }

func (b *Buffers) takeAll(n int) bool {
	if b == nil || b.left.Add(int64(-n)) >= 0 {
		return true
	}
	b.left.Add(int64(n))
	return false
}

func (b *Buffers) give() { b.giveAll(1) }

func (b *Buffers) giveAll(n int) {
	if b != nil {
		b.left.Add(int64(n))
	}
}

// Socket is a connection whose bytes are the kernel's own, so that it can move them to another such one. A connection that changes
// them has no such method, and so none of what it wraps.
type Socket interface {
	// Socket is nil while there is something to be read that is not in the kernel.
	Socket() *net.TCPConn
	// Moved is told of bytes that were neither read nor written by the connection's own methods.
	Moved(n int)
}

// SocketOf returns what the kernel can move bytes of a connection by, or nil.
func SocketOf(c any) Socket {
	switch c := c.(type) {
	case Socket:
		if c.Socket() != nil {
			return c
		}
	case *net.TCPConn:
		return tcpSocket{c}
	}
	return nil
}

type tcpSocket struct{ *net.TCPConn }

func (s tcpSocket) Socket() *net.TCPConn { return s.TCPConn }
func (tcpSocket) Moved(int)              {}

// Stats says what a joint carried, in bytes.
type Stats struct {
	AToB, BToA int64
}

// A direction that carries little waits with a small buffer, so that thousands of idle joints are cheap; one that fills it
// gets a large one, from a pool.
const (
	small = 4 << 10
	large = 64 << 10
)

var buffers = sync.Pool{New: func() any { b := make([]byte, large); return &b }}

// buffer is one direction's.
type buffer struct {
	bound *Buffers
	small [small]byte
	large *[]byte
}

// next returns the buffer for a read, after one that returned n bytes.
func (b *buffer) next(n int) []byte {
	if n < small {
		b.free()
		return b.small[:]
	}
	if b.large == nil {
		if !b.bound.take() {
			return b.small[:]
		}
		b.large = buffers.Get().(*[]byte)
	}
	return *b.large
}

func (b *buffer) free() {
	if b.large != nil {
		buffers.Put(b.large)
		b.large = nil
		b.bound.give()
	}
}

// Join copies both ways until both halves are over, forwards each end of a half, and passes a reset on as a reset.
// It closes both. The error is nil when both halves ended cleanly; ctx's end resets both and its cause is the error.
func Join(ctx context.Context, a, b Conn, opts Options) (Stats, error) {
	if opts.HalfClosedIdle == 0 {
		opts.HalfClosedIdle = 10 * time.Minute
	}
	j := &joint{a: a, b: b, bound: opts.Buffers}
	defer context.AfterFunc(ctx, j.reset)()
	var stats Stats
	halves := make(chan error, 2)
	go func() { halves <- j.copy(a, b, &stats.BToA) }()
	go func() { halves <- j.copy(b, a, &stats.AToB) }()
	err := <-halves
	stop := j.watchIdle(opts.HalfClosedIdle)
	err = errors.Join(err, <-halves)
	stop()
	switch {
	case ctx.Err() != nil:
		j.reset()
		err = context.Cause(ctx)
	case err == nil:
		_ = a.Close()
		_ = b.Close()
	}
	return stats, err
}

// joint is two connections. Its goroutines are the two copies, which Join waits for.
type joint struct {
	a, b  Conn
	bound *Buffers
	moved atomic.Int64
	once  sync.Once
}

// copy carries src to dst until src ends. An error resets both sides, so that the other half ends too.
func (j *joint) copy(dst, src Conn, n *int64) error {
	err := j.carry(dst, src, n)
	if err == nil {
		if err = dst.CloseWrite(); gone(err) {
			err = nil
		}
	}
	if err != nil {
		j.reset()
	}
	return err
}

// carry copies what is little, and has the kernel move what is much between two sockets.
func (j *joint) carry(dst, src Conn, n *int64) error {
	b := buffer{bound: j.bound}
	defer b.free()
	r := 0
	for {
		buf := b.next(r)
		var err error
		r, err = src.Read(buf)
		if r > 0 {
			w, err := dst.Write(buf[:r])
			*n += int64(w)
			j.moved.Add(int64(w))
			if err != nil {
				return err
			}
		}
		if err == nil && r == large {
			if from, to := SocketOf(src), SocketOf(dst); from != nil && to != nil {
				b.free()
				err, r = j.move(to, from, n), 0
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// move has the kernel carry as long as much comes.
func (j *joint) move(to, from Socket, n *int64) error {
	p := j.bound.OpenPipe()
	if p == nil {
		return nil
	}
	defer p.Close()
	for got := small; got >= small; {
		var err error
		got, err = p.Move(to, from, math.MaxInt64)
		*n += int64(got)
		j.moved.Add(int64(got))
		if err != nil {
			return err
		}
	}
	return nil
}

// watchIdle resets the joint when nothing moves for d; the returned function ends the watch.
func (j *joint) watchIdle(d time.Duration) (stop func()) {
	if d < 0 {
		return func() {}
	}
	seen := j.moved.Load()
	var timer *time.Timer
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(d, func() {
		mu.Lock()
		defer mu.Unlock()
		if now := j.moved.Load(); now != seen {
			seen = now
			timer.Reset(d)
			return
		}
		j.reset()
	})
	return func() { timer.Stop() }
}

func (j *joint) reset() {
	j.once.Do(func() {
		Reset(j.a)
		Reset(j.b)
	})
}

// Reset closes c so that the other end sees a reset where c can say it: TCP by a linger of zero, a stream by its own Reset.
func Reset(c io.Closer) {
	switch c := c.(type) {
	case interface{ Reset() }:
		c.Reset()
	case *net.TCPConn:
		_ = c.SetLinger(0)
		_ = c.Close()
	default:
		_ = c.Close()
	}
}

func gone(err error) bool {
	return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, net.ErrClosed)
}
