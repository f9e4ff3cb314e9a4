package borrow

import (
	"cmp"
	"slices"

	"podstep.dev/adapter/borrow/tunnel"
)

// changeLocked wakes all who wait for a change; the lock is held.
func (b *Borrow) changeLocked() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// tell tells the roster of an event and does what follows from it. The person is spoken to without the lock.
func (b *Borrow) tell(event func(*roster) effect) {
	b.mu.Lock()
	e := event(&b.roster)
	b.changeLocked()
	b.mu.Unlock()
	for _, line := range e.say {
		b.say(line)
	}
	if e.end != nil {
		b.end(e.end)
	}
}

// hasBegun reports whether Start has done its work.
func (b *Borrow) hasBegun() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.roster.begun
}

// enlist makes a link one that the session goes over.
func (b *Borrow) enlist(l *link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.links = append(slices.Clip(b.links), l)
	slices.SortFunc(b.links, func(a, b *link) int { return cmp.Compare(a.age, b.age) })
	b.changeLocked()
}

// strike undoes enlist.
func (b *Borrow) strike(l *link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.links = slices.DeleteFunc(slices.Clone(b.links), func(o *link) bool { return o == l })
	b.changeLocked()
}

// standing returns the link that stands the longest, or nil and what is closed at the next change.
func (b *Borrow) standing() (*link, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.links {
		if l.alive() {
			return l, nil
		}
	}
	return nil, b.changed
}

// want adds a port to those that every link subscribes to, and returns the links that have to be told. A link that comes
// later asks for what is wanted then.
func (b *Borrow) want(port uint16) (links []*link, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.ports, port) || b.questions.hasGiven(port) || b.revocation.Load() != nil {
		return nil, true
	}
	b.ports = append(slices.Clip(b.ports), port)
	return b.links, false
}

// wanted lists the ports that every link subscribes to.
func (b *Borrow) wanted() []uint16 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ports
}

// SetPaused says whether the debugger is stopped: what comes meanwhile is treated as "onPause" says. The agents are told.
func (b *Borrow) SetPaused(paused bool) {
	b.tunnel.SetPaused(paused)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = paused
	b.changeLocked()
}

// isPaused returns what SetPaused said last, and what is closed at the next change.
func (b *Borrow) isPaused() (bool, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.paused, b.changed
}

// Status is what `podstep/status` answers.
type Status struct {
	Target string `json:"target"`
	Mode   string `json:"mode"`
	// Ports of the target whose traffic is subscribed to at one place at least.
	Ports  []uint16 `json:"ports"`
	Places []Place  `json:"places"`
	// Released are ports that the session gave back.
	Released []uint16 `json:"released,omitempty"`
	tunnel.Counts
}

// Place is one of the target's places in a Status.
type Place struct {
	// Name is as the person sees it: "pod/web-0".
	Name string `json:"name"`
	// State is attaching, attached, refused (another session holds a port), lost, reattaching or failed.
	State string `json:"state"`
}

// Status says what the borrow does at this moment.
func (b *Borrow) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Status{Target: b.target.String(), Mode: b.mirror.Incoming.Mode, Counts: b.tunnel.Counts(), Ports: []uint16{}, Places: []Place{}, Released: b.questions.given()}
	for _, l := range b.links {
		s.Ports = append(s.Ports, l.ports()...)
	}
	slices.Sort(s.Ports)
	s.Ports = slices.Compact(s.Ports)
	for _, seat := range b.roster.seats {
		s.Places = append(s.Places, Place{Name: seat.name, State: string(seat.state)})
	}
	return s
}
