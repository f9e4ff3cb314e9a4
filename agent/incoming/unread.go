//go:build linux

package incoming

import (
	"sync"
	"time"

	"podstep.dev/internal/wire"
)

// unreadEvery is how often at most it is told what filters could not look into.
const unreadEvery = time.Second

// unread counts the connections that a session's filters could not look into, and tells of them. Its timer calls tell.
type unread struct {
	tell func(wire.UnreadParams)

	mu     sync.Mutex
	counts map[uint64]map[wire.Unread]uint64 // by subscription
	timer  *time.Timer
	closed bool
}

func newUnread(tell func(wire.UnreadParams)) *unread {
	return &unread{tell: tell, counts: map[uint64]map[wire.Unread]uint64{}}
}

// add counts one connection of a subscription.
func (u *unread) add(id uint64, why wire.Unread) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	if u.counts[id] == nil {
		u.counts[id] = map[wire.Unread]uint64{}
	}
	u.counts[id][why]++
	if u.timer == nil {
		u.timer = time.AfterFunc(unreadEvery, u.flush)
	}
}

// countUnread counts one connection for each claim with a filter.
func countUnread(claims []*steal, why wire.Unread) {
	for _, st := range claims {
		if st.filter != nil {
			st.session.unread.add(st.id, why)
		}
	}
}

// flush tells what was counted.
func (u *unread) flush() {
	u.mu.Lock()
	counts, closed := u.counts, u.closed
	u.counts, u.timer = map[uint64]map[wire.Unread]uint64{}, nil
	u.mu.Unlock()
	if closed {
		return
	}
	// Outside the lock: the capture must not wait for whoever is told.
	for id, connections := range counts {
		u.tell(wire.UnreadParams{ID: id, Connections: connections})
	}
}

// close has nothing more told.
func (u *unread) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	if u.timer != nil {
		u.timer.Stop()
	}
}
