package capture

// Sieve picks what is copied out of what the client of one connection sends. One goroutine calls it, which it must not block.
type Sieve interface {
	// Take takes in the next bytes and hands what is copied of them, and of those before, to keep, in order. begins says that
	// what follows belongs together, so that it may go to another copy when the one before is over. keep keeps nothing of p.
	Take(b []byte, keep func(p []byte, begins bool)) Sifted
	// End says that the client has no more to say.
	End(keep func(p []byte, begins bool))
	// Held is the memory in bytes of what is not decided.
	Held() int
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
	how := c.sieve.Take(b, c.keep)
	switch {
	case c.how != underWay:
		return
	case how == Torn:
		c.finish(byRST)
		return
	case how == Enough && c.replica == nil:
		c.finish(leftOut)
		return
	case how == Enough:
		c.deaf = true
	}
	c.weigh(c.sieve.Held())
	c.capture.crowd()
}

// keep copies what a sieve has picked: to the same copy as long as it is read.
func (c *connection) keep(p []byte, begins bool) {
	if c.how != underWay {
		return
	}
	if begins && (c.replica == nil || c.replica.over()) {
		if c.replica = c.capture.copy(c.tuple, true); c.replica == nil {
			c.giveUp("too many copies")
			return
		}
	}
	c.replica.add(p)
	c.capture.crowd()
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
