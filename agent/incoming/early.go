//go:build linux

package incoming

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// leastEarly is the memory in bytes that a connection begins with; most requests need no more.
const leastEarly = 4 << 10

// early is a client before the adapter has answered. What it sends is forwarded at once and a copy is kept, at most
// wire.MaxFirst bytes, in case the adapter refuses; over that the client waits. How its half ended is kept too, because
// the kernel tells of a reset only once.
type early struct {
	conn   socket
	budget *budget

	// over : nothing is read any more.
	over atomic.Bool
	mu   sync.Mutex // held while reading
	// kept has its whole capacity from the budget.
	kept []byte
	// end is io.EOF or the error that the client's half ended with.
	end error
}

func newEarly(conn socket, b *budget) *early { return &early{conn: conn, budget: b} }

// look reads until enough says so of what was read, the client's half ends, or patience is over.
func (e *early) look(patience time.Duration, enough func([]byte) bool) {
	_ = e.conn.SetReadDeadline(time.Now().Add(patience))
	defer func() { _ = e.conn.SetReadDeadline(time.Time{}) }()
	for !enough(e.kept) {
		if chunk, end := e.next(); len(chunk) == 0 || end != nil {
			return
		}
	}
}

// first returns what the client has sent already, without waiting: where the server speaks first there is nothing to
// wait for.
func (e *early) first() []byte {
	tcp, ok := e.conn.(*width)
	if !ok {
		return e.kept // TLS has read ahead
	}
	raw, err := tcp.SyscallConn()
	if err != nil || e.end != nil || !e.grow() {
		return e.kept
	}
	_ = raw.Read(func(fd uintptr) bool {
		e.took(syscall.Read(int(fd), e.kept[len(e.kept):cap(e.kept)]))
		return true
	})
	return e.kept
}

// took notes the outcome of a read into kept, by hand.
func (e *early) took(n int, err error) {
	switch {
	case n > 0:
		e.kept = e.kept[:len(e.kept)+n]
	case err == nil:
		e.end = io.EOF
	case !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR):
		e.end = os.NewSyscallError("read", err)
	}
}

// forward writes to stream what the client sends until stop, then the end of the client's half if that was clean. A
// reset is not told before the answer: it would take the answer away.
func (e *early) forward(stream splice.Conn) {
	for {
		chunk, end := e.next()
		if len(chunk) > 0 {
			if _, err := stream.Write(chunk); err != nil {
				// The answer says why.
				return
			}
		}
		if end == io.EOF {
			_ = stream.CloseWrite()
		}
		if end != nil || len(chunk) == 0 {
			return
		}
	}
}

// next reads a chunk and keeps it; it is empty when nothing more may be kept or all is over.
func (e *early) next() (chunk []byte, end error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over.Load() || e.end != nil || !e.grow() {
		return nil, e.end
	}
	before := len(e.kept)
	n, err := e.conn.Read(e.kept[before:cap(e.kept)])
	e.kept = e.kept[:before+n]
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		e.end = err
	}
	return e.kept[before:], e.end
}

// grow makes room for a read and reports whether there is any.
func (e *early) grow() bool {
	have := cap(e.kept)
	if len(e.kept) < have {
		return true
	}
	n := e.budget.take(min(max(have, leastEarly), wire.MaxFirst-have))
	if n == 0 {
		return false
	}
	kept := make([]byte, len(e.kept), have+n)
	copy(kept, e.kept)
	e.kept = kept
	return true
}

// stop ends the reading; a write of forward may go on.
func (e *early) stop() {
	e.over.Store(true)
	_ = e.conn.SetReadDeadline(time.Unix(1, 0))
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.conn.SetReadDeadline(time.Time{})
}

// drop gives the memory of what was kept back, when it is delivered.
func (e *early) drop() {
	e.budget.give(cap(e.kept))
	e.kept = nil
}

// rest is the client from where it was left: what is kept and not delivered, then what comes, or the reset that it
// ended with.
func (e *early) rest() splice.Conn {
	if len(e.kept) == 0 && (e.end == nil || e.end == io.EOF) {
		return e.conn
	}
	return &begun{socket: e.conn, early: e, kept: e.kept}
}

// deliver writes what was kept to the target as far as it takes it at once, and returns the client from there on.
func (e *early) deliver(target *width) splice.Conn {
	raw, err := target.SyscallConn()
	if err != nil || len(e.kept) == 0 {
		return e.rest()
	}
	_ = raw.Write(func(fd uintptr) bool {
		n, _ := syscall.Write(int(fd), e.kept)
		e.kept = slices.Delete(e.kept, 0, max(n, 0))
		return true
	})
	return e.rest()
}

// begun is a client whose beginning was read already.
type begun struct {
	socket
	early *early
	kept  []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.kept) > 0 {
		n := copy(p, b.kept)
		b.kept = b.kept[n:]
		return n, nil
	}
	b.early.drop()
	if b.early.end != nil {
		return 0, b.early.end
	}
	return b.socket.Read(p)
}
