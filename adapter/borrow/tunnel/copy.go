package tunnel

import (
	"context"
	"errors"
	"slices"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
)

// errUntold is what ends a copy that is no HTTP/1, of which nothing can be shown while the debugger is stopped.
var errUntold = errors.New("the debugger is stopped, and the requests cannot be told apart")

// copied is a copy of a connection: what the debuggee answers to it is dropped. The copy's end is still the debuggee's end of reading.
type copied struct {
	*mux.Stream
	observer *observer
	// ahead was read already.
	ahead []byte
}

func (c *copied) Read(b []byte) (n int, err error) {
	if len(c.ahead) > 0 {
		n = copy(b, c.ahead)
		c.ahead = c.ahead[n:]
	} else {
		n, err = c.Stream.Read(b)
	}
	c.observer.asked(b[:n])
	return n, err
}

func (c *copied) Write(b []byte) (int, error) {
	c.observer.answered(b)
	return len(b), nil
}

// copy delivers a copy of a connection. Nobody waits for it, so it is refused when the debuggee does not listen. What comes while the debugger is
// stopped is for the log alone, from which it can be replayed; the first request after that is the debuggee's again.
func (t *Tunnel) copy(ctx context.Context, stream *mux.Stream) (splice.Stats, error) {
	c := &copied{Stream: stream, observer: t.observe(stream)}
	conn, err := t.admit(ctx, stream.Header)
	stopped := isPaused(err)
	if err != nil && !stopped {
		return splice.Stats{}, t.refuse(stream, err)
	}
	if err := open(stream, conn); err != nil {
		return splice.Stats{}, err
	}
	defer c.observer.ended()
	if stopped {
		if conn, err = t.miss(ctx, c, asRefusal(err).Text); conn == nil {
			return splice.Stats{}, err
		}
	}
	t.delivered.Add(1)
	return splice.Join(ctx, c, conn, splice.Options{})
}

// miss has a copy recorded until the debuggee can have it. It returns no connection when the copy is over before.
func (t *Tunnel) miss(ctx context.Context, c *copied, why string) (splice.Conn, error) {
	defer context.AfterFunc(ctx, c.Reset)()
	c.observer.missed = why
	b := make([]byte, 4<<10)
	for {
		n, err := c.Stream.Read(b)
		for rest := b[:n]; len(rest) > 0; {
			if c.observer.isBetween() {
				conn, err := t.admit(ctx, c.Header)
				if err == nil {
					c.observer.missed, c.ahead = "", slices.Clone(rest)
					return conn, nil
				}
				if !isPaused(err) {
					c.Reset()
					return nil, err
				}
			}
			if rest = rest[c.observer.take(rest):]; c.observer.blind {
				c.Reset()
				return nil, errUntold
			}
		}
		if err != nil {
			_ = c.CloseWrite()
			_ = c.Close()
			return nil, nil //nolint:nilerr // its end is not a failure
		}
	}
}
