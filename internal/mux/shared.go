package mux

import "sync"

// Budget is memory and streams that several sessions share. When all that is unread in them would exceed it, the session with
// most unread bytes loses the stream with most.
type Budget struct {
	cap     int // so much may be unread
	wide    int // while no more is unread, windows may be wider than floor, by so much together
	window  int // no window is wider than this
	streams int // so many streams of other ends are served at once

	mu       sync.Mutex
	unread   int
	beyond   int // of all streams
	served   int
	sessions map[*budget]struct{}
}

// NewBudget makes a budget of so many bytes of memory, at least 2 MiB, and so many streams of other ends that are served
// at once. A buffer may be twice as large as what is in it, so half of the memory may be unread; and while a quarter is, windows are
// not wider than 256 KiB.
func NewBudget(memory, streams int) *Budget {
	memory = max(memory, leastBudget)
	return &Budget{cap: memory / 2, wide: memory / 4, window: memory / 4, streams: streams, sessions: map[*budget]struct{}{}}
}

// leastBudget is enough for a few streams that nobody reads.
const leastBudget = 8 * floor

// join makes the part of a session, which leave ends.
func (p *Budget) join(b *budget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.shared, b.mu = p, &p.mu
	p.sessions[b] = struct{}{}
}

// leave drops all that is unread in a session.
func (p *Budget) leave(b *budget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.over = true
	for _, a := range b.accounts {
		b.drop(a)
	}
	delete(p.sessions, b)
}

// serve counts a stream in that is about to be served, if there is room.
func (p *Budget) serve() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.served >= p.streams {
		return false
	}
	p.served++
	return true
}

func (p *Budget) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.served--
}

// add accounts for n unread bytes of b, and makes room for them. The caller holds mu.
func (p *Budget) add(b *budget, n int) {
	b.unread += n
	p.unread += n
	for p.unread > p.cap {
		p.largest().evictMost()
	}
}

// largest is the session with most unread bytes; there is one, since something is unread.
func (p *Budget) largest() *budget {
	var most *budget
	for b := range p.sessions {
		if most == nil || b.unread > most.unread {
			most = b
		}
	}
	return most
}
