package tunnel

import (
	"context"
	"errors"
	"sync"
)

// h2client is what a client has for its requests of HTTP/2: one connection of the debuggee for all of them.
type h2client struct {
	mu      sync.Mutex
	attempt *h2attempt
	// users are requests under way.
	users int
}

// h2attempt is a connection that is being made, or was.
type h2attempt struct {
	done chan struct{}
	leg  *h2leg
	err  error
}

// stale says that the next request makes another.
func (a *h2attempt) stale() bool {
	select {
	case <-a.done:
		return a.err != nil || !a.leg.usable()
	default:
		return false
	}
}

// join counts a request in, and leave out again. A client that is gone is forgotten with its last request.
func (c *client) join() {
	c.h2.mu.Lock()
	c.h2.users++
	c.h2.mu.Unlock()
}

func (c *client) leave() {
	c.h2.mu.Lock()
	c.h2.users--
	c.h2.mu.Unlock()
	c.settle()
}

// busy says that requests of HTTP/2 are under way.
func (h *h2client) busy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.users > 0
}

// stream returns the client's connection with a stream reserved. A request that is given up does not end an attempt that others wait for.
func (c *client) stream(ctx context.Context, t *Tunnel, x *h2exchange) (*h2leg, error) {
	for again := true; ; again = false {
		a := c.connect(t, x)
		select {
		case <-a.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if a.err != nil {
			return nil, a.err
		}
		err := a.leg.reserve(ctx)
		if err == nil {
			return a.leg, nil
		}
		if !again || !errors.Is(err, errLegOver) {
			return nil, err
		}
	}
}

// connect returns the attempt of this moment, or begins one.
func (c *client) connect(t *Tunnel, x *h2exchange) *h2attempt {
	c.h2.mu.Lock()
	defer c.h2.mu.Unlock()
	if a := c.h2.attempt; a != nil && !a.stale() {
		return a
	}
	a := &h2attempt{done: make(chan struct{})}
	c.h2.attempt = a
	c.all.watches.Go(func() {
		defer close(a.done)
		a.leg, a.err = t.dialH2(c.ctx, x.header, c.all.watches.Go)
	})
	return a
}
