package tunnel

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errGone is the cause that ends what is done for a client whose connection is over.
var errGone = errors.New("the client closed its connection")

// legPatience is how long a request waits for the leg of the one before it, which is answered but still being sent to a
// debuggee that does not read it.
const legPatience = time.Second

// Clients are the connections of one link's clients, by the number that the agent gave them, each with its leg: the
// connection of the debuggee that its requests go to. The zero value is ready.
type Clients struct {
	mu       sync.Mutex
	byNumber map[uint64]*client
	over     bool
	// watches are the goroutines of idle legs.
	watches sync.WaitGroup
}

// client is one connection of a client, from its first request or its end on, whichever is heard of first: notices and streams overtake
// each other.
type client struct {
	all    *Clients
	number uint64
	// ctx ends with the link, or with the client when no request of it is inside.
	ctx context.Context //nolint:containedctx // the lifetime that the client's legs share
	end context.CancelCauseFunc
	// gone is done when the client has no more to say: nobody waits for the debugger for it any more.
	gone context.Context //nolint:containedctx // the lifetime of what waits
	quit context.CancelCauseFunc
	// idle holds the leg for the next request, or nil when that one has to dial. It is empty while a request has the leg.
	idle chan *leg
	// h2 is for requests of HTTP/2.
	h2 h2client

	mu sync.Mutex
	// inside is the request that the debuggee has.
	inside *exchange
}

// client returns the one of a number. The lifetime of a new one is within ctx, which is the link's. The caller holds mu.
func (cs *Clients) client(ctx context.Context, number uint64) *client {
	if c := cs.byNumber[number]; c != nil {
		return c
	}
	c := &client{all: cs, number: number, idle: make(chan *leg, 1)}
	c.idle <- nil
	c.ctx, c.end = context.WithCancelCause(ctx)
	c.gone, c.quit = context.WithCancelCause(c.ctx)
	if cs.byNumber == nil {
		cs.byNumber = map[uint64]*client{}
	}
	cs.byNumber[number] = c
	return c
}

// enter returns the client of a request.
func (cs *Clients) enter(ctx context.Context, number uint64) (*client, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.over {
		return nil, errGone
	}
	return cs.client(ctx, number), nil
}

// Closed tells that no further request comes of a client, by the notice of its agent: the debuggee sees the end of the connection,
// and may still answer what it has. ctx is the link's.
func (cs *Clients) Closed(ctx context.Context, number uint64) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.over {
		return
	}
	c := cs.client(ctx, number)
	c.quit(errGone)
	c.mu.Lock()
	inside := c.inside
	c.mu.Unlock()
	if inside != nil {
		inside.part()
		return
	}
	select {
	case l := <-c.idle:
		l.close()
		c.idle <- nil
	default:
	}
	// A request of it may not have been heard of yet.
	time.AfterFunc(legPatience, c.settle)
}

// settle forgets a client that is gone and has nothing under way.
func (c *client) settle() {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	if c.gone.Err() == nil || c.h2.busy() {
		return
	}
	select {
	case l := <-c.idle:
		l.close()
		c.forget()
	default:
	}
}

// forget ends a client. The caller holds all's mu.
func (c *client) forget() {
	delete(c.all.byNumber, c.number)
	c.end(errGone)
}

// occupy says which request the debuggee has, nil for none any more.
func (c *client) occupy(x *exchange) {
	c.mu.Lock()
	c.inside = x
	c.mu.Unlock()
	if x != nil && c.gone.Err() != nil {
		x.part()
	}
}

// Close ends all clients and awaits their legs. It comes after the link's last Serve.
func (cs *Clients) Close() {
	cs.mu.Lock()
	cs.over = true
	for _, c := range cs.byNumber {
		c.end(errGone)
	}
	clear(cs.byNumber)
	cs.mu.Unlock()
	cs.watches.Wait()
}

// take returns the client's leg when it can carry one more request, else nil: the caller dials then. give follows.
func (c *client) take() *leg {
	timer := time.NewTimer(legPatience)
	defer timer.Stop()
	select {
	case l := <-c.idle:
		if l != nil && !l.resume() {
			l.close()
			return nil
		}
		return l
	case <-timer.C:
	case <-c.ctx.Done():
	}
	return nil
}

// give keeps a leg for the client's next request; without one, that dials. No request follows one of a client that is gone.
func (c *client) give(l *leg) {
	switch {
	case l == nil:
	case c.gone.Err() != nil:
		l.close()
		l = nil
	default:
		l.rest(&c.all.watches)
	}
	select {
	case c.idle <- l:
	default: // the next request did not wait for it
		l.close()
	}
	c.settle()
}
