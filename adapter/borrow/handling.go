package borrow

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/wire"
)

// handling is what a person does with requests while the session lasts. It is the borrow's.
type handling struct{ *Borrow }

var _ requests.Control = handling{}

// Rules lists the session's.
func (c handling) Rules() []requests.Rule {
	c.mu.Lock()
	written := c.rules
	c.mu.Unlock()
	list := []requests.Rule{}
	for i, state := range c.tunnel.Rules() {
		if i < len(written) {
			text, _ := json.Marshal(written[i]) // it was read from JSON
			list = append(list, requests.Rule{Rule: text, Words: state.Words, Met: state.Met})
		}
	}
	return list
}

// SetRules replaces all.
func (c handling) SetRules(text []byte) error {
	list, err := config.ParseRules(text)
	return c.change(err, func() {
		c.rules = list
		c.tunnel.SetRules(tunnelRules(list))
	})
}

// AddRule puts one before the others.
func (c handling) AddRule(text []byte) error {
	one, err := config.ParseRule(text)
	return c.change(err, func() {
		c.rules = slices.Concat([]config.Rule{one}, c.rules)
		c.tunnel.AddRule(tunnelRule(one))
	})
}

// change changes the rules, with mu held, unless what was written is wrong or the session answers no requests.
func (c handling) change(wrong error, to func()) error {
	switch {
	case wrong != nil:
		return wrong
	case c.mirror.Incoming.Mode != config.ModeSteal:
		return requests.ErrNoControl
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	to()
	c.changeLocked()
	return nil
}

// Release lets a held request go on.
func (c handling) Release(id uint64, r requests.Release) error {
	how, answer := tunnel.Release(r.Action), tunnel.Reply{Status: r.Status, Body: r.Body}
	if answer.Status == 0 {
		answer.Status = config.Rule{}.Answer()
	}
	switch {
	case !slices.Contains([]tunnel.Release{tunnel.ReleaseDeliver, tunnel.ReleaseTarget, tunnel.ReleaseFail}, how):
		return fmt.Errorf("action %q is none of deliver, target, fail", r.Action)
	case answer.Status < 400 || answer.Status > 599:
		return fmt.Errorf("want the status of a failure, from 400 to 599, got %d", answer.Status)
	}
	return c.tunnel.Release(id, how, answer)
}

func tunnelRules(list []config.Rule) []tunnel.Rule {
	rules := make([]tunnel.Rule, len(list))
	for i, r := range list {
		rules[i] = tunnelRule(r)
	}
	return rules
}

func tunnelRule(r config.Rule) tunnel.Rule {
	return tunnel.Rule{
		Filter: r.Filter.Declared, Ports: r.Ports, Action: tunnel.Action(r.Action), Answer: tunnel.Reply{Status: r.Answer(), Body: r.Body},
		Delay: r.Wait(), Times: r.Times, Words: r.String(),
	}
}

// holding tells the person of a request that a rule holds.
func (b *Borrow) holding(h tunnel.Held) {
	b.say(fmt.Sprintf("request %d %s %s waits, by the rule to %s; podstep requests deliver %[1]d (or target, or fail) lets it go on, and after %[5]v the target has it",
		h.ID, h.Method, h.Path, h.Rule, h.Until.Sub(h.Since)))
	if b.opts.Held != nil {
		b.opts.Held(h, "")
	}
}

// releasedTo tells how it went on.
func (b *Borrow) releasedTo(h tunnel.Held, how tunnel.Release) {
	switch how {
	case tunnel.Expired:
		b.say(fmt.Sprintf("request %d %s %s went to the target: nobody released it within %v", h.ID, h.Method, h.Path, h.Until.Sub(h.Since)))
	case tunnel.Withdrawn:
		b.say(fmt.Sprintf("request %d %s %s waits no more: its client is gone", h.ID, h.Method, h.Path))
	}
	if b.opts.Held != nil {
		b.opts.Held(h, how)
	}
}

// patience is how many seconds the answer to a request may take, beside what it takes anyway: by the rules, and because the debugger may be
// stopped when their time is over.
func (b *Borrow) patience() int {
	incoming := b.mirror.Incoming
	b.mu.Lock()
	rules := b.rules
	b.mu.Unlock()
	var pause, delay time.Duration
	if b.onPause() == wire.PauseHold {
		pause = time.Duration(incoming.Hold.Seconds) * time.Second
	}
	longest := pause
	for _, r := range rules {
		switch r.Action {
		case config.RuleBreak:
			longest = max(longest, time.Duration(incoming.Hold.Seconds)*time.Second)
		case config.RuleDelay:
			delay = max(delay, r.Wait())
		}
	}
	longest = max(longest, pause+delay)
	return int((longest + time.Second - 1) / time.Second)
}
