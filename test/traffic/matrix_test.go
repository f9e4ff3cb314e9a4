//go:build linux

package traffic

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podstep.dev/internal/wire"
)

// event is what happens to the debuggee.
type event int

const (
	runs           event = iota
	stopped              // before the request, and longer than anybody waits
	continues            // stopped before it, and goes on soon
	isStopped            // stops with the request inside, longer than it may hang, and goes on
	notListening         // nobody listens
	ends                 // closes the connection before it answers
	endsInside           // and in the midst of its answer
	hangs                // has the request and does not answer
	acceptsNobody        // has a listener and accepts nobody, or is gone without a word
	isSlow               // begins to answer, and takes longer than it may hang
	numberOfEvents int   = iota
)

func (e event) String() string {
	return [...]string{
		"runs", "is stopped", "is stopped, and continues", "stops with the request inside", "does not listen", "ends before it answers",
		"ends in its answer", "does not answer", "accepts no connection", "answers slowly",
	}[e]
}

// want says what docs/traffic.md promises: what the client sees, and whether the debuggee has the request.
func want(p policies, k kind, e event) (sees string, delivered bool) {
	podstep := func(status, grpc string) string {
		if k.isGRPC {
			return "gRPC " + grpc
		}
		return status
	}
	fallback := func(may bool, status, grpc string) string {
		switch {
		case k.isPlain:
			return "nothing"
		case may && (k.repeatable || k.optIn && p.idempotent):
			return "target"
		}
		return podstep(status, grpc)
	}
	switch e {
	case stopped, continues:
		switch {
		case p.onPause == wire.PauseHold && e == continues:
			return "debuggee", true
		case p.onPause == wire.PauseReject && !k.isPlain:
			return podstep("503", "14"), false
		}
		return "target", false
	case notListening:
		return "target", false
	case ends:
		return fallback(p.onExit, "502", "14"), true
	case endsInside:
		return "half of debuggee", true
	case hangs:
		return fallback(p.onHang, "504", "4"), true
	case acceptsNobody:
		if k.isHTTP2 {
			return "target", false // that it speaks HTTP/2 is known before a request is delivered
		}
		return fallback(p.onHang, "504", "4"), false
	}
	return "debuggee", true
}

// TestWhatAClientSees holds every policy, kind of request and event against docs/traffic.md: onPause x onExit x onHang x fallbackIdempotent x
// kind x event. In each cell at most one delivery to the debuggee, and two parties only where that was allowed.
func TestWhatAClientSees(t *testing.T) {
	var cells, wrong atomic.Int64
	saw := summary{}
	var all sync.WaitGroup
	for _, onPause := range []wire.OnPause{wire.PausePass, wire.PauseHold, wire.PauseReject} {
		for bits := range 8 {
			p := policies{onPause, bits&1 > 0, bits&2 > 0, bits&4 > 0}
			s := newStage(t, p)
			all.Go(func() {
				for _, k := range kinds() {
					for e := range event(numberOfEvents) {
						cells.Add(1)
						got := s.try(t, k, e)
						saw.add(k, e, got)
						if want, _ := want(p, k, e); got != want {
							wrong.Add(1)
						}
					}
				}
			})
		}
	}
	all.Wait()
	t.Logf("%d cells, %d of them not as promised\n%s", cells.Load(), wrong.Load(), saw.String())
}

// try plays one cell and returns what the client saw.
func (s *stage) try(t *testing.T, k kind, e event) string {
	id := fmt.Sprintf("%s/%d/%p", strings.ReplaceAll(k.name, " ", "-"), e, s)
	s.debuggee.do(e)
	s.listens.Store(accepts)
	s.pause(e == stopped || e == continues)
	switch e {
	case notListening:
		s.listens.Store(refuses)
	case acceptsNobody:
		s.listens.Store(acceptsNothing)
	}
	if e == continues {
		later := time.AfterFunc(holdFor/3, func() { s.pause(false) })
		defer later.Stop()
	}
	got := k.ask(s, id)
	s.pause(false)
	kept := got
	if strings.HasPrefix(got, "nothing: ") {
		kept = "nothing"
	}
	wants, delivered := want(s.policies, k, e)
	debuggee, target := s.debuggee.times(id), s.target.times(id)
	if kept != wants || (debuggee == 1) != delivered || debuggee > 1 || target > 1 || (target == 1) != (wants == "target") {
		t.Errorf("%s, the debuggee %v, %+v: the client saw %q, want %q; %d times at the debuggee (want: %v), %d at the target", k.name, e, s.policies, got, wants, debuggee, delivered, target)
	}
	return kept
}

// summary is what clients saw, over all policies.
type summary map[string]map[string]int

var summaryLock sync.Mutex

func (s summary) add(k kind, e event, saw string) {
	summaryLock.Lock()
	defer summaryLock.Unlock()
	row := fmt.Sprintf("%-29v %s", e, k.name)
	if s[row] == nil {
		s[row] = map[string]int{}
	}
	s[row][saw]++
}

func (s summary) String() string {
	var b strings.Builder
	for _, row := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%-60s", row)
		for _, saw := range slices.Sorted(maps.Keys(s[row])) {
			fmt.Fprintf(&b, " %s: %d", saw, s[row][saw])
		}
		b.WriteByte('\n')
	}
	return b.String()
}
