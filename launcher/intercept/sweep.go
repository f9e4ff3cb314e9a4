//go:build linux

package intercept

import (
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// sweepUntil drops what nothing needs any more, again and again until done.
func (s *Supervisor) sweepUntil(done <-chan struct{}) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			s.sweep(time.Now())
			s.dns.sweep()
		}
	}
}

// sweep forgets connections whose end is keepNames ago, dials whose socket is gone, and sockets that the debuggee
// closed: closing is not notified.
func (s *Supervisor) sweep(now time.Time) {
	s.mu.Lock()
	outgoings, listeners := slices.Collect(maps.Values(s.outgoing)), slices.Collect(maps.Values(s.listeners))
	for real, in := range s.incoming {
		if in.over(now) {
			delete(s.incoming, real)
		}
	}
	for _, a := range s.askers {
		if a.idle(now) && !a.alive() {
			s.forgetAskerLocked(a)
		}
	}
	s.noteKnown()
	s.mu.Unlock()

	for _, l := range listeners {
		if now.Sub(l.since) > keepNames && !l.alive() {
			s.forgetListener(l)
		}
	}
	for _, o := range outgoings {
		s.sweepOutgoing(o, now)
	}
}

func (s *Supervisor) sweepOutgoing(o *outgoing, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.dialing && !o.enters && !o.verdict && !s.waitsAtDoor(o):
		s.abandonLocked(o, unix.ECONNABORTED)
	case !o.ended.IsZero() && now.Sub(o.ended) > keepNames:
		s.setFailed(o, 0)
		s.drop(o, nil)
	}
}

func (in *incoming) over(now time.Time) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return !in.ended.IsZero() && now.Sub(in.ended) > keepNames
}

func (a *asker) idle(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return now.Sub(a.used) > keepNames
}

// alive reports whether the socket is still where it was last seen.
func (a *asker) alive() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	fd, err := a.at.process.descriptor(a.at.fd)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return cookie(fd) == a.cookie
}
