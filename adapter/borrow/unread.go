package borrow

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/wire"
)

// unread adds up what a place's agent tells of connections that the filter cannot read. The person is told of the first of
// each kind, and then each time that they have become ten times as many.
type unread struct {
	mu   sync.Mutex
	sums map[unreadOf]*unreadSum
}

type unreadOf struct {
	port uint16
	why  wire.Unread
}

// unreadSum is how many there were, and with how many the person is told next.
type unreadSum struct{ total, next uint64 }

// add counts n more, and returns how many there are if the person is to be told.
func (u *unread) add(port uint16, why wire.Unread, n uint64) (total uint64, tell bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sums == nil {
		u.sums = map[unreadOf]*unreadSum{}
	}
	of := unreadOf{port, why}
	sum := u.sums[of]
	if sum == nil {
		sum = &unreadSum{next: 1}
		u.sums[of] = sum
	}
	sum.total += n
	if sum.total < sum.next {
		return sum.total, false
	}
	sum.next = 10 * sum.total
	return sum.total, true
}

// Unread : the filter could not read connections.
func (n notices) Unread(p wire.UnreadParams) {
	port, ok := n.portOf(p.ID)
	if !ok {
		return
	}
	for _, why := range slices.Sorted(maps.Keys(p.Connections)) {
		number := p.Connections[why]
		n.log.Info("connections that a filter cannot read", zap.Uint16("port", port), zap.String("why", string(why)), zap.Uint64("connections", number))
		if number == 0 {
			continue
		}
		if total, tell := n.unread.add(port, why, number); tell {
			n.borrow.say(sayUnread(total, why, fmt.Sprintf("port %d of %s", port, n.place), n.borrow.mirror.Incoming.Mode))
		}
	}
}

// sayUnread says what a filter cannot read: 3 connections to port 80 of pod/web-0 are TLS, which a filter cannot read: they stay the target's.
func sayUnread(n uint64, why wire.Unread, where, mode string) string {
	kind := map[wire.Unread][2]string{
		wire.UnreadTLS:     {"is TLS", "are TLS"},
		wire.UnreadHTTP2:   {"is HTTP/2", "are HTTP/2"},
		wire.UnreadOther:   {"is no HTTP", "are no HTTP"},
		wire.UnreadServer:  {"begins with the server's words", "begin with the server's words"},
		wire.UnreadOdd:     {"has a message that is no proper HTTP/1", "have messages that are no proper HTTP/1"},
		wire.UnreadLong:    {"has a head that is too long", "have heads that are too long"},
		wire.UnreadUpgrade: {"asked for another protocol", "asked for another protocol"},
		wire.UnreadOld:     {"began before the session", "began before the session"},
		wire.UnreadCrowded: {"and perhaps more came when the agent had as many as its memory allows", "and perhaps more came when the agent had as many as its memory allows"},
	}
	if mode == config.ModeMirror {
		kind[wire.UnreadHTTP2] = [2]string{"is HTTP/2 after an upgrade, or malformed", "are HTTP/2 after an upgrade, or malformed"}
	}
	if text := sayTLS(n, why, where); text != "" {
		return text
	}
	words, known := kind[why]
	if !known {
		words = [2]string{"is unclear", "are unclear"}
	}
	end := [2]string{"it stays the target's", "they stay the target's"}
	if mode == config.ModeMirror {
		end = [2]string{"it is not copied", "they are not copied"}
	}
	many := 1
	if n == 1 {
		many = 0
	}
	return fmt.Sprintf("%s to %s %s, which a filter cannot read: %s", count(n, "connection"), where, words[many], end[many])
}

// portOf is the port of a subscription that was granted.
func (l *link) portOf(id uint64) (uint16, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for port, s := range l.subscriptions {
		if s.id == id && id != 0 {
			return port, true
		}
	}
	return 0, false
}
