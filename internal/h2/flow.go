package h2

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Windows that a connection begins with, in bytes (RFC 9113 §6.9.2).
const (
	DefaultWindow = 65_535
	maxWindow     = 1<<31 - 1
)

// ErrWindow says that a peer allows more than 2^31-1 bytes, which is a FLOW_CONTROL_ERROR (RFC 9113 §6.9.1).
var ErrWindow = errors.New("a flow-control window of more than 2^31-1 bytes")

// ErrClosed says that nothing more may be sent on a stream.
var ErrClosed = errors.New("the stream is closed")

// Flow is what a peer allows to be sent, in bytes: on the connection and on each stream (RFC 9113 §5.2). Safe for concurrent use.
type Flow struct {
	mu      sync.Mutex
	left    int64
	initial int64
	streams map[*Credit]struct{}
	changed chan struct{} // closed at the next change for the better; nil while nobody waits
}

// Credit is what may be sent on one stream.
type Credit struct {
	flow   *Flow
	left   int64
	closed bool
}

// NewFlow begins with the default windows.
func NewFlow() *Flow {
	return &Flow{left: DefaultWindow, initial: DefaultWindow, streams: map[*Credit]struct{}{}}
}

// SetInitial sets the peer's SETTINGS_INITIAL_WINDOW_SIZE: streams that there are change by the difference, and may be below 0 then.
func (f *Flow) SetInitial(n uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	by := int64(n) - f.initial
	f.initial = int64(n)
	for c := range f.streams {
		if c.left += by; c.left > maxWindow {
			return ErrWindow
		}
	}
	f.wake()
	return nil
}

// Initial is what a stream begins with.
func (f *Flow) Initial() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.initial
}

// Grant adds to what may be sent on the connection.
func (f *Flow) Grant(n uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left += int64(n); f.left > maxWindow {
		return ErrWindow
	}
	f.wake()
	return nil
}

// Stream begins a stream.
func (f *Flow) Stream() *Credit {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &Credit{flow: f, left: f.initial}
	f.streams[c] = struct{}{}
	return c
}

// TryTake takes n bytes of the connection's window alone, all or none. It is for streams whose windows another party keeps.
func (f *Flow) TryTake(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left < int64(n) {
		return false
	}
	f.left -= int64(n)
	return true
}

// TakeSome takes at most n bytes of the connection's window alone, without waiting, and returns how many.
func (f *Flow) TakeSome(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n = int(max(min(int64(n), f.left), 0))
	f.left -= int64(n)
	return n
}

// Spend takes n bytes of the connection's window whether it has them or not: whoever sends them answers for that.
func (f *Flow) Spend(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left -= int64(n)
}

// TryTake takes at most n bytes of the stream's window and the connection's, none when there are none.
func (c *Credit) TryTake(n int) int {
	c.flow.mu.Lock()
	defer c.flow.mu.Unlock()
	may := max(min(int64(n), c.left, c.flow.left), 0)
	c.left -= may
	c.flow.left -= may
	return int(may)
}

// Grant adds to what may be sent on the stream.
func (c *Credit) Grant(n uint32) error {
	c.flow.mu.Lock()
	defer c.flow.mu.Unlock()
	if c.left += int64(n); c.left > maxWindow {
		return ErrWindow
	}
	c.flow.wake()
	return nil
}

// Take waits until something may be sent on the stream and on the connection, and takes at most n bytes of it, n > 0. The error is
// ErrClosed, or wraps the context's cause.
func (c *Credit) Take(ctx context.Context, n int) (int, error) {
	f := c.flow
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		may := min(int64(n), c.left, f.left)
		switch {
		case c.closed:
			return 0, ErrClosed
		case may > 0:
			c.left -= may
			f.left -= may
			return int(may), nil
		}
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return 0, fmt.Errorf("wait for a window: %w", context.Cause(ctx))
		}
	}
}

// Close ends the stream, and who waits for it.
func (c *Credit) Close() {
	c.flow.mu.Lock()
	defer c.flow.mu.Unlock()
	c.closed = true
	delete(c.flow.streams, c)
	c.flow.wake()
}

// wake wakes all who wait; the lock is held.
func (f *Flow) wake() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}
