package borrow

import (
	"fmt"
	"sync"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/wire"
)

// existing adds up the connections that were made before a port was stolen, which stay with the target.
type existing struct {
	mu sync.Mutex
	// heard are the places' ports that were counted: a link that comes back counts nothing again.
	heard map[heard]bool
	// said are ports that the person was told of.
	said map[uint16]bool
	sums map[uint16]int
}

// heard is a port of a place.
type heard struct {
	place string
	port  uint16
}

// add counts a place's, once, and returns how many of them the person has to be told of because the sum was said before.
func (e *existing) add(place string, port uint16, n int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heard == nil {
		e.heard, e.said, e.sums = map[heard]bool{}, map[uint16]bool{}, map[uint16]int{}
	}
	known := heard{place, port}
	switch {
	case e.heard[known]:
		n = 0
	case !e.said[port]:
		e.sums[port] += n
		n = 0
	}
	e.heard[known] = true
	return n
}

// sum returns a port's sum, to be said.
func (e *existing) sum(port uint16) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.said != nil {
		e.said[port] = true
	}
	return e.sums[port]
}

// sayExisting tells the person of a port's.
func (b *Borrow) sayExisting(n int, port uint16, of string) {
	if n > 0 {
		b.say(fmt.Sprintf("%s to port %d%s existed before and %s with the target", count(uint64(n), "connection"), port, of, either(n == 1, "stays", "stay")))
	}
}

// hearExisting takes what an agent said of a port.
func (l *link) hearExisting(port uint16, granted wire.Subscription) {
	if l.borrow.mirror.Incoming.Existing == config.ExistingReset && l.borrow.mirror.Incoming.Mode == config.ModeSteal {
		l.sayReset(port, granted)
		return
	}
	n := l.borrow.existing.add(l.place.ID(), port, granted.Existing)
	l.borrow.sayExisting(n, port, " of "+l.place.String())
}

// sayReset tells the person what became of a place's that were to be reset.
func (l *link) sayReset(port uint16, granted wire.Subscription) {
	if n := granted.Reset; n > 0 {
		l.borrow.say(fmt.Sprintf("%s to port %d of %s existed before and %s reset: %s", count(uint64(n), "connection"), port, l.place,
			either(n == 1, "was", "were"), either(n == 1, "its client connects again", "their clients connect again")))
	}
	why := granted.Kept
	if why == "" && granted.Reset == 0 {
		why = "the agent is older and resets none"
	}
	if n := granted.Existing; n > 0 {
		l.borrow.say(fmt.Sprintf("%s to port %d of %s existed before and %s with the target: %s", count(uint64(n), "connection"), port, l.place, either(n == 1, "stays", "stay"), why))
	}
}

// count says how many there are of a thing.
func count(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func either(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}
