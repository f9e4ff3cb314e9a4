package mux

import (
	"fmt"
	"sync"
	"time"

	"podstep.dev/internal/wire"
)

// budget is one session's part of a [Budget]: it decides how much the other end may send and keeps what has arrived unread
// within the shared cap.
//
// A stream begins with the window that yamux gives, floor. Each time half of its window has been read it is filled up
// again, and made four times as wide up to the largest: a stream that is read fast gets a wide window soon, and one that is not read
// never does. What all streams may have beyond floor is bounded, and while much is unread in all sessions, no window is wider
// than that, and narrower when there are many. All this leaves one way over the cap: very many streams that have not used up the window
// they began with. Then the link waits for their readers, and evicts one that nobody has read for a while.
type budget struct {
	window  int // the largest
	streams int // so many may be open
	shared  *Budget

	// evict is told to reset a stream. It must not block.
	evict func(id uint32, unread int)
	// due is told that grants wait to be sent. It must not block.
	due func()

	mu     *sync.Mutex // of shared
	unread int
	// kept is what the streams' buffers have had in them since they were last empty: a buffer gives nothing back before.
	kept     int
	accounts map[uint32]*account
	grants   []uint32
	over     bool // the session has ended: nothing is kept any more
}

// large is the least that must have been unread for the empty buffer to be freed at once, not at the next heartbeat; small is that while
// much is kept.
const (
	large = 1 << 20
	small = 16 << 10
)

// growth is how much wider a window gets each time. Many streams carry one response, so few round trips may pass before a large one has room.
const growth = 4

// account is what the budget knows of a stream.
type account struct {
	// credit is what the other end may still send, unread what has arrived and was not read.
	credit, unread, window int
	// beyond is the part of credit and unread that is more than floor.
	beyond int
	// granted is the part of credit that the other end has not been told.
	granted int
	// peak is the most that was unread since it was last empty.
	peak int
	// since is when it was last read, or, if later, when it was last empty.
	since time.Time
	// finIn and finOut : a half has ended.
	finIn, finOut bool
	// dropped : nothing of it is kept any more.
	dropped bool
	// known : the session has the stream; until then a reset by the other end is noted here.
	known, reset bool
}

// arrived accounts for a frame that was received. keep says whether its body is for yamux. The error is for a peer that
// sends more than it was granted.
func (b *budget) arrived(h *frame) (keep bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, flags := h.stream(), h.flags()
	if h.kind() > frameWindow {
		return true, nil
	}
	if flags&flagSYN != 0 {
		if err := b.open(id); err != nil {
			return false, err
		}
	}
	a := b.accounts[id]
	if a == nil {
		return true, nil
	}
	keep = true
	if h.isData() {
		if keep, err = b.take(id, a, h.length()); err != nil {
			return false, err
		}
	}
	a.finIn = a.finIn || flags&flagFIN != 0
	b.settle(id, a, flags)
	return keep, nil
}

// take accounts for n bytes of data and reports whether they are kept.
func (b *budget) take(id uint32, a *account, n int) (keep bool, err error) {
	if n > a.credit {
		return false, fmt.Errorf("stream %d: %d bytes where %d were granted: %w", id, n, a.credit, wire.ErrFrame)
	}
	a.credit -= n
	if a.dropped || b.over {
		return false, nil
	}
	return b.shared.add(b, a, n), nil
}

// evictOne drops a stream.
func (b *budget) evictOne(id uint32) {
	a := b.accounts[id]
	unread := a.unread
	b.drop(a)
	b.evict(id, unread)
}

// leaving accounts for a frame that is sent.
func (b *budget) leaving(h *frame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, flags := h.stream(), h.flags()
	if h.kind() > frameWindow {
		return
	}
	if flags&flagSYN != 0 {
		b.accounts[id] = &account{credit: floor, window: floor}
	}
	a := b.accounts[id]
	if a == nil {
		return
	}
	a.finOut = a.finOut || flags&flagFIN != 0
	b.settle(id, a, flags)
}

func (b *budget) open(id uint32) error {
	if len(b.accounts) >= b.streams {
		return fmt.Errorf("%d streams open: %w", len(b.accounts), wire.ErrFrame)
	}
	if b.accounts[id] != nil {
		return fmt.Errorf("stream %d opened twice: %w", id, wire.ErrFrame)
	}
	b.accounts[id] = &account{credit: floor, window: floor}
	return nil
}

// settle forgets a stream that is over.
func (b *budget) settle(id uint32, a *account, flags uint16) {
	if flags&flagRST != 0 {
		b.drop(a)
		delete(b.accounts, id)
	}
	if a.finIn && a.finOut && (a.unread == 0 || a.dropped) {
		b.promise(a, 0)
		delete(b.accounts, id)
	}
}

func (b *budget) drop(a *account) {
	a.dropped = true
	b.subtract(a.unread, a.peak)
	a.unread, a.peak = 0, 0
	b.promise(a, 0)
}

// promise notes that so much more than floor may be unread of a stream.
func (b *budget) promise(a *account, beyond int) {
	b.shared.beyond += max(beyond, 0) - a.beyond
	a.beyond = max(beyond, 0)
}

func (b *budget) subtract(unread, kept int) {
	b.unread -= unread
	b.shared.unread -= unread
	b.kept -= kept
	b.shared.kept -= kept
	b.shared.changed.Broadcast()
}

// read accounts for n bytes that a reader took from a stream. shrink says that a large buffer of it is empty.
func (b *budget) read(id uint32, n int) (shrink bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.accounts[id]
	if a == nil || a.dropped {
		return false
	}
	a.unread -= n
	a.since = time.Now()
	freed := 0
	if a.unread == 0 {
		shrink = a.peak > large || a.peak > small && b.shared.isCrowded()
		freed, a.peak = a.peak, 0
	}
	b.subtract(n, freed)
	if a.finIn {
		b.promise(a, a.unread-floor)
		b.settle(id, a, 0)
		return shrink
	}
	b.promise(a, a.credit+a.unread-floor)
	b.fill(id, a)
	return shrink
}

// fill grants what the stream's window has room for, when that is worth a frame.
func (b *budget) fill(id uint32, a *account) {
	crowded := b.shared.isCrowded()
	if crowded {
		a.window = b.shared.fair()
	}
	if a.window-a.credit-a.unread < a.window/2 {
		return
	}
	if !crowded {
		room := floor + b.shared.wide - (b.shared.beyond - a.beyond)
		a.window = max(a.window, min(growth*a.window, b.window, room))
	}
	n := a.window - a.credit - a.unread
	if a.granted == 0 {
		b.grants = append(b.grants, id)
	}
	a.credit += n
	a.granted += n
	b.promise(a, a.credit+a.unread-floor)
	b.due()
}

// appendGrants appends the frames of the grants that are due.
func (b *budget) appendGrants(out []byte) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range b.grants {
		if a := b.accounts[id]; a != nil && a.granted > 0 {
			f := grantFrame(id, a.granted)
			out = append(out, f[:]...)
			a.granted = 0
		}
	}
	b.grants = b.grants[:0]
	return out
}

// forget drops what is unread of a stream that is reset at this end, and all that still comes.
func (b *budget) forget(id uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.accounts[id]; a != nil {
		b.drop(a)
		b.settle(id, a, 0)
	}
}

// introduce says that the session has the stream, and reports whether the other end reset it or it was evicted before.
func (b *budget) introduce(id uint32) (reset, evicted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.accounts[id]
	if a == nil {
		return false, false
	}
	a.known = true
	return a.reset, a.dropped
}

// noteReset keeps a reset for a stream that the session does not have yet.
func (b *budget) noteReset(id uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.accounts[id]; a != nil && !a.known {
		a.reset = true
	}
}
