package tunnel

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"podstep.dev/internal/filter"
)

// Action is what a rule does with a request.
type Action string

const (
	// ActBreak : the request is held, before it is delivered, until somebody releases it.
	ActBreak Action = "break"
	// ActFail : podstep answers it.
	ActFail Action = "fail"
	// ActDelay : it waits, then it goes on.
	ActDelay Action = "delay"
)

// Rule says what is done with requests that a filter matches, instead of delivering them at once. What it does not set is as the zero
// value says.
type Rule struct {
	// Filter matches the requests; the zero value matches all.
	Filter filter.Filter
	// Ports are the target's that it is about. If empty, all.
	Ports  []uint16
	Action Action
	// Answer is that of ActFail.
	Answer Reply
	// Delay is that of ActDelay.
	Delay time.Duration
	// Times is how many requests it is for. If zero, all.
	Times int
	// Words say the rule to people.
	Words string
}

// Reply is an answer of podstep's own.
type Reply struct {
	// Status is from 400 to 599.
	Status int
	// Body is text or JSON. If empty, it says who answered.
	Body string
}

// RuleState is a rule and how many requests it was for so far.
type RuleState struct {
	Rule
	Met int64
}

// SetRules replaces all rules; they have met nothing yet. The first of them that matches a request counts.
func (t *Tunnel) SetRules(list []Rule) { t.rules.set(list) }

// AddRule puts a rule before the others.
func (t *Tunnel) AddRule(r Rule) { t.rules.add(r) }

// Rules lists them in their order.
func (t *Tunnel) Rules() []RuleState { return t.rules.all() }

// rules are those of a session. The zero value has none.
type rules struct {
	mu   sync.Mutex
	list []*judge // replaced, never changed
}

// judge is a rule at work. Its filter's samples count as long as it is there.
type judge struct {
	Rule
	matcher *filter.Matcher
	met     atomic.Int64
}

func newJudge(r Rule) *judge { return &judge{Rule: r, matcher: r.Filter.Matcher()} }

func (rs *rules) set(list []Rule) {
	judges := make([]*judge, len(list))
	for i, r := range list {
		judges[i] = newJudge(r)
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.list = judges
}

func (rs *rules) add(r Rule) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.list = slices.Concat([]*judge{newJudge(r)}, rs.list)
}

func (rs *rules) now() []*judge {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.list
}

func (rs *rules) all() []RuleState {
	list := []RuleState{}
	for _, j := range rs.now() {
		list = append(list, RuleState{j.Rule, j.met.Load()})
	}
	return list
}

// content returns a body's content as far as it came (see [filter.Matcher.MatchBody]). It is called once at the most, and may wait.
type content func() (body []byte, complete bool)

// match returns the rule for a request to a port of the target, and nil when there is none.
func (rs *rules) match(port uint16, r filter.Request, body content) *Rule {
	var seen struct {
		body             []byte
		complete, looked bool
	}
	for _, j := range rs.now() {
		if len(j.Ports) > 0 && !slices.Contains(j.Ports, port) || j.spent() {
			continue
		}
		v := j.matcher.Match(r)
		if v == filter.NeedsBody {
			if !seen.looked {
				seen.body, seen.complete = body()
				seen.looked = true
			}
			v = j.matcher.MatchBody(r, seen.body, seen.complete)
		}
		if v == filter.Yes && j.take() {
			return &j.Rule
		}
	}
	return nil
}

func (j *judge) spent() bool { return j.Times > 0 && j.met.Load() >= int64(j.Times) }

// take counts a request, unless the rule was for enough of them.
func (j *judge) take() bool {
	for {
		met := j.met.Load()
		if j.Times > 0 && met >= int64(j.Times) {
			return false
		}
		if j.met.CompareAndSwap(met, met+1) {
			return true
		}
	}
}
