package borrow

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"podstep.dev/internal/fault"
)

// reminder is how often the person is told that a place is still away.
const reminder = time.Minute

// state is what a place of the session is doing.
type state string

const (
	attaching   state = "attaching"   // for the first time
	attached    state = "attached"    // with all its subscriptions
	refused     state = "refused"     // the link stands, and another session holds a port
	lost        state = "lost"        // waiting for the next try
	reattaching state = "reattaching" // trying
	failed      state = "failed"      // given up
)

// roster knows what became of each place, and decides what the person is told of it and when the session is over. It is
// pure: events in, an effect out. Its places are those of the last set.
type roster struct {
	// target is what the person chose, act what the session does with a place: "stealing from".
	target, act string
	// begun is set when the session has started: from then on it goes on with the places that work.
	begun bool
	seats []*seat
}

// seat is one place.
type seat struct {
	id, name string
	state    state
	// ever says that it was attached once.
	ever bool
	// since is when it was lost, told when the person last heard of it, both zero while all is well.
	since, told time.Time
	// why it failed.
	why *fault.Fault
}

// effect is what is to be done after an event.
type effect struct {
	// say are lines for the person.
	say []string
	// end ends the session, if it is not nil.
	end *fault.Fault
}

// seat returns nil when the place has left the set, whose events count no more.
func (r *roster) seat(id string) *seat {
	i := slices.IndexFunc(r.seats, func(s *seat) bool { return s.id == id })
	if i < 0 {
		return nil
	}
	return r.seats[i]
}

// begin begins the session, once there is a place and all are attached; it reports whether that is so.
func (r *roster) begin() bool {
	r.begun = len(r.seats) > 0 && !slices.ContainsFunc(r.seats, func(s *seat) bool { return s.state != attached })
	return r.begun
}

// replace takes a set that differs: the names of the places by their ids.
func (r *roster) replace(set []seat) (e effect) {
	var gone []string
	before := len(r.seats)
	r.seats = slices.DeleteFunc(r.seats, func(s *seat) bool {
		leaves := !slices.ContainsFunc(set, func(n seat) bool { return n.id == s.id })
		if leaves && s.state != failed {
			gone = append(gone, s.name)
		}
		return leaves
	})
	for _, n := range set {
		if r.seat(n.id) == nil {
			r.seats = append(r.seats, &seat{id: n.id, name: n.name, state: attaching})
		}
	}
	switch {
	case len(r.seats) == 0 && !r.begun && before == 0:
		e.say = append(e.say, "waiting for a pod of "+r.target)
	case len(r.seats) == 0 && before > 0:
		e.say = append(e.say, "waiting for a new pod of "+r.target)
	case r.begun:
		for _, name := range gone {
			e.say = append(e.say, "no longer "+r.act+" "+name)
		}
	}
	e.end = r.hopeless()
	return e
}

// attached follows when a place has its link and its subscriptions.
func (r *roster) attached(id string, now time.Time) (e effect) {
	s := r.seat(id)
	if s == nil || s.state == attached {
		return effect{}
	}
	switch {
	case s.ever && !s.since.IsZero():
		e.say = []string{fmt.Sprintf("%s is back after %s", s.name, brief(now.Sub(s.since)))}
	case r.begun && slices.ContainsFunc(r.seats, func(o *seat) bool { return o.state == attached }):
		e.say = []string{fmt.Sprintf("also %s %s", r.act, s.name)}
	case r.begun:
		e.say = []string{fmt.Sprintf("%s %s", r.act, s.name)}
	}
	s.state, s.ever, s.since, s.told = attached, true, time.Time{}, time.Time{}
	return e
}

// trying follows when a link is looked for.
func (r *roster) trying(id string) {
	if s := r.seat(id); s != nil && s.state == lost {
		s.state = reattaching
	}
}

// lost follows when a place's link is lost or could not be made, and will be tried again.
func (r *roster) lost(id string, why error, now time.Time) effect {
	s := r.seat(id)
	if s == nil {
		return effect{}
	}
	if s.state = lost; s.ever {
		return r.tell(s, now, fmt.Sprintf("lost the link to %s: %s; it serves by itself until the link is back", s.name, short(why)), "still no link to "+s.name, why)
	}
	if !r.begun { // the start reports it
		return effect{}
	}
	return r.tell(s, now, fmt.Sprintf("cannot attach to %s yet: %s", s.name, short(why)), "still not attached to "+s.name, why)
}

// refused follows when another session holds a port of a place that came while the session runs.
func (r *roster) refused(id string, why error, now time.Time) effect {
	s := r.seat(id)
	if s == nil {
		return effect{}
	}
	s.state = refused
	return r.tell(s, now, short(why)+"; trying again until it is free", "still: "+short(why), nil)
}

// tell says first once and then again every minute.
func (r *roster) tell(s *seat, now time.Time, first, again string, why error) effect {
	switch {
	case s.since.IsZero():
		s.since, s.told = now, now
		return effect{say: []string{first}}
	case now.Sub(s.told) < reminder:
		return effect{}
	}
	s.told = now
	line := fmt.Sprintf("%s (%s)", again, brief(now.Sub(s.since)))
	if why != nil {
		line += ": " + short(why)
	}
	return effect{say: []string{line}}
}

// failed follows when a place is given up. The session goes on if there is another one.
func (r *roster) failed(id string, why *fault.Fault) effect {
	s := r.seat(id)
	if s == nil {
		return effect{}
	}
	s.state, s.why = failed, why
	if r.hopeless() != nil {
		return effect{end: why}
	}
	return effect{say: []string{fmt.Sprintf("without %s: %s", s.name, why.Summary())}}
}

// hopeless returns why the session cannot go on, or nil: at its start one place that failed is enough, later all must have.
func (r *roster) hopeless() *fault.Fault {
	var why *fault.Fault
	for _, s := range r.seats {
		switch {
		case s.state == failed && !r.begun:
			return s.why
		case s.state == failed:
			why = s.why
		case r.begun:
			return nil
		}
	}
	return why
}

// short is an error for a line among others.
func short(err error) string {
	var f *fault.Fault
	switch {
	case err == nil:
		return "no reason given"
	case errors.As(err, &f):
		return f.Summary()
	}
	return err.Error()
}

// brief is a duration as a person says it.
func brief(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
