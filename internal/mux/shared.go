package mux

import (
	"sync"
	"time"
)

// patience is how long a link waits at the cap for a reader that reads nothing, before that one's stream is reset.
const patience = 2 * time.Second

// Budget is memory and streams that several sessions share. When all that is unread in them would exceed it, their links wait for
// those who read. Of the streams that nobody has read for a while, the session with most unread bytes then loses the one with most.
type Budget struct {
	cap     int // so much may be kept
	wide    int // while no more is kept, windows may be wider than floor, by so much together
	window  int // no window is wider than this
	streams int // so many streams of other ends are served at once

	mu sync.Mutex
	// changed is told when something was read or dropped.
	changed  sync.Cond
	unread   int
	kept     int // see budget
	beyond   int // of all streams
	served   int
	sessions map[*budget]struct{}
}

// NewBudget makes a budget of so many bytes of memory, at least 2 MiB, and so many streams of other ends that are served
// at once. A buffer may be twice as large as what is in it, so half of the memory may be unread; and while a quarter is, windows are
// not wider than 256 KiB.
func NewBudget(memory, streams int) *Budget {
	memory = max(memory, leastBudget)
	p := &Budget{cap: memory / 2, wide: memory / 4, window: memory / 4, streams: streams, sessions: map[*budget]struct{}{}}
	p.changed.L = &p.mu
	return p
}

// leastBudget is enough for a few streams that nobody reads.
const leastBudget = 8 * floor

// leastWindow is enough for a stream to go on, in bytes.
const leastWindow = 16 << 10

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
	p.changed.Broadcast()
}

// quit has b's link wait no more: what comes is not kept.
func (p *Budget) quit(b *budget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.over = true
	p.changed.Broadcast()
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

// add accounts for n unread bytes of a stream of b when there is room for them, and says whether they are to be kept: not when the stream
// is dropped meanwhile. The caller holds mu.
func (p *Budget) add(b *budget, a *account, n int) (keep bool) {
	grows := func() int { return max(a.unread+n-a.peak, 0) }
	for p.kept+grows() > p.cap && !a.dropped && !b.over {
		now := time.Now()
		most, id, wait := p.neglected(now)
		if most != nil {
			most.evictOne(id)
			continue
		}
		timer := time.AfterFunc(wait, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.changed.Broadcast()
		})
		p.changed.Wait()
		timer.Stop()
	}
	if a.dropped || b.over {
		return false
	}
	if a.unread == 0 {
		a.since = time.Now()
	}
	more := grows()
	a.unread += n
	a.peak += more
	b.unread += n
	p.unread += n
	b.kept += more
	p.kept += more
	return true
}

// isCrowded says that much is kept. The caller holds mu.
func (p *Budget) isCrowded() bool { return p.kept > p.wide }

// neglected is the stream of which most is kept of those that were not read for so long, in the session with most; if there is none, wait
// says when there may be one. A session, and a stream, with less than its share of what is kept is not meant: others are in its way, not
// it in theirs.
func (p *Budget) neglected(now time.Time) (most *budget, id uint32, wait time.Duration) {
	wait = patience
	share := p.cap / 2 / max(p.open(), 1)
	for b := range p.sessions {
		if b.kept < p.kept/len(p.sessions) {
			continue
		}
		var worst *account
		var worstID uint32
		for i, a := range b.accounts {
			if a.peak <= share {
				continue
			}
			if left := patience - now.Sub(a.since); left > 0 {
				wait = min(wait, left)
			} else if worst == nil || a.peak > worst.peak {
				worst, worstID = a, i
			}
		}
		if worst != nil && (most == nil || b.kept > most.kept) {
			most, id = b, worstID
		}
	}
	return most, id, wait
}

// fair is the window of a stream while much is unread: no wider than all may have at once. The caller holds mu.
func (p *Budget) fair() int { return min(floor, max(p.cap/2/max(p.open(), 1), leastWindow)) }

// open is how many streams there are. The caller holds mu.
func (p *Budget) open() (streams int) {
	for b := range p.sessions {
		streams += len(b.accounts)
	}
	return streams
}
