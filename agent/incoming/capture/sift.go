package capture

import (
	"context"
	"errors"
	"maps"
)

// Sieve picks what is copied out of what the client of one connection sends. One goroutine calls Take, End and Held, which it must not
// block.
type Sieve interface {
	// Take takes in the next bytes and hands what is copied of them, and of those before, to out, in order.
	Take(b []byte, out Copies) Sifted
	// End says that the client has no more to say.
	End(out Copies)
	// Held is the memory in bytes of what is not decided.
	Held() int
	// Close is the last call, from any goroutine, when the connection and all its copies are over.
	Close()
}

// Copies are those of one connection that has a sieve.
type Copies interface {
	// Keep adds p to a copy, of which nothing is kept. begins says that what follows belongs together. Copy 0 is the connection's, which
	// goes on with the next beginning, or as another one when it is over by then. Any other has one beginning, and is no more when that
	// found no room, or when it is over.
	Keep(copy uint32, p []byte, begins bool)
	// End says that a copy other than 0 is whole: it ends when who reads it ends it, at the latest with the connection. Or that it will not
	// be, or, with context.Canceled, is not wanted any more, whole or not: it is reset behind what was added. Any other error counts
	// it as lost.
	End(copy uint32, err error)
}

// Sifted says how it goes on.
type Sifted int

const (
	// GoOn : with the next bytes.
	GoOn Sifted = iota
	// Enough : nothing more is copied. The copy ends with the connection, so that who has it does not take its client for gone.
	Enough
	// Torn : nothing more is copied, and what was is not whole. The copy is reset behind it.
	Torn
)

// sift has the sieve pick what is copied of b.
func (c *connection) sift(b []byte) {
	c.begun = true
	if c.deaf {
		return
	}
	how := c.sieve.Take(b, c)
	switch {
	case c.how != underWay:
		return
	case how == Torn:
		c.finish(byRST)
		return
	case how == Enough && c.replica == nil && len(c.others) == 0:
		c.finish(leftOut)
		return
	case how == Enough:
		c.deaf = true
	}
	c.weigh(c.sieve.Held())
	c.capture.crowd()
}

// Keep copies what a sieve has picked.
func (c *connection) Keep(id uint32, p []byte, begins bool) {
	if c.how != underWay {
		return
	}
	r := c.replica
	switch {
	case id != 0:
		r = c.other(id, begins)
	case begins && (r == nil || r.over()):
		if r = c.capture.copy(c, 0); r == nil {
			c.giveUp("too many copies")
			return
		}
		c.replica = r
	}
	if r != nil {
		r.add(p)
		c.capture.crowd()
	}
}

// other is a copy beside the connection's own, nil when there is none of that name. One that finds no room is lost, and the others go on.
func (c *connection) other(id uint32, begins bool) *replica {
	if !begins {
		return c.others[id]
	}
	if c.others == nil {
		c.others = map[uint32]*replica{}
	}
	limit := max(c.capture.opts.Connections/share, 1)
	if len(c.others) >= limit {
		c.prune()
	}
	var r *replica
	if len(c.others) < limit {
		r = c.capture.copy(c, id)
	}
	if r == nil {
		c.capture.lost(c.tuple, "too many copies")
		return nil
	}
	c.others[id] = r
	return r
}

// prune forgets copies that are over.
func (c *connection) prune() {
	maps.DeleteFunc(c.others, func(_ uint32, r *replica) bool { return r.over() })
}

// End ends a copy beside the connection's own.
func (c *connection) End(id uint32, err error) {
	r := c.others[id]
	switch {
	case r == nil:
		return
	case err == nil:
		r.whole = true
		return
	case errors.Is(err, context.Canceled):
		r.end(byRST)
	default:
		r.drop()
		c.capture.lost(c.tuple, err.Error())
	}
	delete(c.others, id)
}

// endOthers ends the copies beside the connection's own: what is whole is over when it is read.
func (c *connection) endOthers(end func(*replica)) {
	for _, r := range c.others {
		if r.whole {
			r.end(byFIN)
		} else {
			end(r)
		}
	}
	c.others = nil
}

// release counts out the connection, or one of its copies.
func (c *connection) release() {
	if c.sieve != nil && c.users.Add(-1) == 0 {
		c.sieve.Close()
	}
}

// weigh counts the memory of what the sieve has not decided.
func (c *connection) weigh(n int) {
	if n == c.weight {
		return
	}
	c.capture.held.Add(int64(n - c.weight))
	if c.weight = n; n > 0 {
		c.capture.sieves[c] = struct{}{}
	} else {
		delete(c.capture.sieves, c)
	}
}

// heaviest is the connection of which most is not decided.
func (c *Capture) heaviest() (most *connection, weight int) {
	for sieved := range c.sieves {
		if sieved.weight > weight {
			most, weight = sieved, sieved.weight
		}
	}
	return most, weight
}
