package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/wire"
)

// Held is a request that a rule holds.
type Held struct {
	// ID is that of its recording.
	ID     uint64 `json:"id"`
	Method string `json:"method"`
	// Path is without the query, which may have secrets.
	Path string `json:"path"`
	// Port is the target's.
	Port uint16 `json:"port"`
	// Rule is the one that holds it, in words.
	Rule string `json:"rule"`
	// Since is when that began, and Until when it ends, if nobody releases the request: the target has it then.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// Release says how a held request goes on.
type Release string

const (
	// ReleaseDeliver : to the debuggee, whether the debugger is stopped or not.
	ReleaseDeliver Release = "deliver"
	// ReleaseTarget : to the target.
	ReleaseTarget Release = "target"
	// ReleaseFail : podstep answers it.
	ReleaseFail Release = "fail"
	// Expired : nobody released it in time, and the target has it. Nobody may ask for this or for the next one.
	Expired Release = "expired"
	// Withdrawn : its client is gone, or the link.
	Withdrawn Release = "withdrawn"
)

// ErrNotHeld says that no request of that id is held (any more).
var ErrNotHeld = errors.New("the request is not held (any more)")

// Held lists the requests that are held, the oldest first.
func (t *Tunnel) Held() []Held { return t.held.all() }

// Release lets a held request go on, once. answer is that of ReleaseFail. The error is ErrNotHeld.
func (t *Tunnel) Release(id uint64, how Release, answer Reply) error {
	return t.held.release(id, released{how, answer})
}

type released struct {
	how    Release
	answer Reply
}

// held are the requests that wait for a person. The zero value has none.
type held struct {
	mu   sync.Mutex
	byID map[uint64]*waiting
}

type waiting struct {
	Held
	released chan released // has room for one
}

// enter takes a request in, unless there are limit already.
func (hs *held) enter(h Held, limit int) *waiting {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if len(hs.byID) >= limit {
		return nil
	}
	if hs.byID == nil {
		hs.byID = map[uint64]*waiting{}
	}
	w := &waiting{Held: h, released: make(chan released, 1)}
	hs.byID[h.ID] = w
	return w
}

// leave takes it out. What it was released to at the last moment counts.
func (hs *held) leave(w *waiting, otherwise Release) released {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.byID[w.ID] == w {
		delete(hs.byID, w.ID)
	}
	select {
	case r := <-w.released:
		return r
	default:
		return released{how: otherwise}
	}
}

func (hs *held) release(id uint64, r released) error {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	w := hs.byID[id]
	if w == nil {
		return ErrNotHeld
	}
	delete(hs.byID, id)
	w.released <- r
	return nil
}

func (hs *held) count() int64 {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return int64(len(hs.byID))
}

func (hs *held) all() []Held {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	list := make([]Held, 0, len(hs.byID))
	for _, w := range hs.byID {
		list = append(list, w.Held)
	}
	slices.SortFunc(list, func(a, b Held) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// ruling is what becomes of a request by the rules.
type ruling struct {
	// answer, if there is one, is what the client gets, and why says whose wish that is.
	answer *Reply
	why    string
	// through says that a person wants it delivered: no pause holds it up.
	through bool
}

// decide says whether a request may go to the debuggee, and waits as rules and the policy say. gone ends with the client's interest. The error
// is errReject, or leaves the request to the target. A probe is the debuggee's only as long as the debugger is not stopped: at a
// breakpoint it is the target's, at once, so that nobody restarts the pod for it; no rule and no policy has it wait.
func (t *Tunnel) decide(gone context.Context, h wire.Header, rec Recording, about func() filter.Request, body content) (ruling, error) {
	if h.Probe {
		if stopped, _ := t.gate.now(); stopped {
			return ruling{}, paused("the debugger is stopped, and this is a probe")
		}
		return ruling{}, nil
	}
	ruled, err := t.rule(gone, h, rec, about, body)
	if err != nil || ruled.answer != nil || ruled.through {
		return ruled, err
	}
	return ruled, t.gate.pass(gone, t.Pause)
}

// rule asks the rules about a request and waits as they say. An error leaves the request to the target. While the debugger is stopped and the
// policy is that requests pass, they do so before any rule: the agent does not even ask.
func (t *Tunnel) rule(gone context.Context, h wire.Header, rec Recording, about func() filter.Request, body content) (ruling, error) {
	if len(t.rules.now()) == 0 {
		return ruling{}, nil
	}
	if stopped, _ := t.gate.now(); stopped && t.Pause.passes() {
		return ruling{}, nil
	}
	r := about()
	rule := t.rules.match(h.Port, r, body)
	if rule == nil {
		return ruling{}, nil
	}
	switch rule.Action {
	case ActFail:
		return ruling{answer: &rule.Answer, why: "a rule: " + rule.Words}, nil
	case ActDelay:
		return ruling{}, t.delay(gone, rule, rec)
	case ActBreak:
		return t.hold(gone, h, rule, rec, r)
	}
	return ruling{}, nil
}

// delay waits.
func (t *Tunnel) delay(gone context.Context, rule *Rule, rec Recording) error {
	rec.Went(WentDelayed, "a rule: "+rule.Words)
	timer := time.NewTimer(rule.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-gone.Done():
		return context.Cause(gone)
	}
}

// hold waits for a person, as many requests at once and as long as they wait for the debugger.
func (t *Tunnel) hold(gone context.Context, h wire.Header, rule *Rule, rec Recording, r filter.Request) (ruling, error) {
	path, _, _ := strings.Cut(r.Target, "?")
	now := time.Now()
	w := t.held.enter(Held{
		ID: rec.ID(), Method: r.Method, Path: path, Port: h.Port, Rule: rule.Words, Since: now, Until: now.Add(t.Pause.Patience),
	}, t.Pause.Requests)
	if w == nil {
		return ruling{}, heldBack(fmt.Sprintf("%d requests are held already", t.Pause.Requests))
	}
	rec.Went(WentHeld, "a rule: "+rule.Words)
	if t.Holding != nil {
		t.Holding(w.Held)
	}
	timer := time.NewTimer(t.Pause.Patience)
	defer timer.Stop()
	var to released
	select {
	case to = <-w.released:
	case <-timer.C:
		to = t.held.leave(w, Expired)
	case <-gone.Done():
		to = t.held.leave(w, Withdrawn)
	}
	if t.Released != nil {
		t.Released(w.Held, to.how)
	}
	switch to.how {
	case ReleaseDeliver:
		return ruling{through: true}, nil
	case ReleaseFail:
		return ruling{answer: &to.answer, why: "it was held and released to fail"}, nil
	case ReleaseTarget:
		return ruling{}, heldBack("it was held and released to the target")
	case Withdrawn:
		return ruling{}, context.Cause(gone)
	default:
		return ruling{}, heldBack(fmt.Sprintf("it was held, and nobody released it within %v", t.Pause.Patience))
	}
}

// heldBack is the refusal of a request that a rule was for.
func heldBack(text string) error { return &wire.Refusal{Errno: syscall.EAGAIN, Text: text} }
