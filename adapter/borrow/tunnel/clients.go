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
	// closed are those whose end was heard of before their first request was served: notices and streams overtake each other.
	closed map[uint64]bool
	over   bool
	// watches are the goroutines of idle legs.
	watches sync.WaitGroup
}

// client is one connection of a client, from its first request on.
type client struct {
	all *Clients
	// ctx ends with the connection, or the link; its cause tells which.
	ctx context.Context //nolint:containedctx // the lifetime that the client's legs share
	end context.CancelCauseFunc
	// idle holds the leg for the next request, or nil when that one has to dial. It is empty while a request has the leg.
	idle chan *leg
}

// enter returns the client of a request. Its lifetime is within ctx, which is the link's.
func (cs *Clients) enter(ctx context.Context, number uint64) (*client, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.byNumber[number]; c != nil {
		return c, nil
	}
	if cs.over || cs.closed[number] {
		delete(cs.closed, number)
		return nil, errGone
	}
	c := &client{all: cs, idle: make(chan *leg, 1)}
	c.idle <- nil
	c.ctx, c.end = context.WithCancelCause(ctx)
	if cs.byNumber == nil {
		cs.byNumber = map[uint64]*client{}
	}
	cs.byNumber[number] = c
	return c, nil
}

// Closed ends what is done for a client: the notice of its agent that its connection is over.
func (cs *Clients) Closed(number uint64) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.byNumber[number]; c != nil {
		delete(cs.byNumber, number)
		c.end(errGone)
		return
	}
	if cs.closed == nil {
		cs.closed = map[uint64]bool{}
	}
	cs.closed[number] = true
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

// give keeps a leg for the client's next request; without one, that dials.
func (c *client) give(l *leg) {
	if l != nil {
		l.rest(&c.all.watches)
	}
	select {
	case c.idle <- l:
	default: // the next request did not wait for it
		l.close()
	}
}
