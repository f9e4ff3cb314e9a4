package adapter

import (
	"fmt"
	"maps"
	"slices"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
)

const (
	// maxFrames is how much of a thread's stack is looked at.
	maxFrames = 200
	// maxProbes bounds what is evaluated at once, and commonFrames in how many frames at the stack's bottom what every frame may have is looked for.
	maxProbes, commonFrames = 10, 2
)

// inquiries are what the session asks the debugger of its own accord while threads are stopped: which of several requests a thread has.
type inquiries struct {
	last   int
	frames map[int]int             // to their threads, as the debugger told the editor
	found  map[int]debugger.Served // by thread, since it stopped; the zero value is nothing
	open   map[int]*inquiry        // by thread
}

// inquiry asks about one thread: for its stack, for the peer where the clues point to, and for what else they know of the request.
type inquiry struct {
	number, thread int
	waiting        []glimpse // answered when it is over
	next           []probe   // asked when none of asked knows
	asked          []probe
	round          int // of questions: answers to those of others are dropped
	found          debugger.Served
	missing        int // answers of the last round
}

// glimpse is an answer to scopes that waits, with the requests that were inside.
type glimpse struct {
	look    lookInside
	entries []requests.Entry
}

// probe is a clue in a frame, and the debugger's answer.
type probe struct {
	clue     debugger.Clue
	frame    int
	answered bool
	served   debugger.Served
	ok       bool
}

// inquired is the place of a question in its inquiry.
type inquired struct {
	number, round, index int
}

func (q *inquiry) timer() timer { return timer(fmt.Sprintf("%s %d", askTimer, q.number)) }

// whose finds out which request a thread has, if there are several and the debugger can tell, and shows it then. It reports whether it does. Of one
// alone nothing is asked: a goroutine that its handler started could not tell either.
func (s *session) whose(g glimpse) bool {
	thread, known := s.inquiries.frames[g.look.frame]
	if served, done := s.inquiries.found[thread]; done && known {
		s.show(g, served)
		return true
	}
	if len(g.entries) < 2 || !known || s.phase != running || s.ending || s.terminated || s.disconnect.Command != "" || s.restart.active() {
		return false
	}
	if len(s.chosen.debugger.Clues()) == 0 {
		return false
	}
	q := s.inquiries.open[thread]
	if q == nil {
		q = s.inquire(thread)
	}
	q.waiting = append(q.waiting, g)
	return true
}

// inquire begins an inquiry.
func (s *session) inquire(thread int) *inquiry {
	i := &s.inquiries
	i.last++
	q := &inquiry{number: i.last, thread: thread}
	if i.open == nil {
		i.open = map[int]*inquiry{}
	}
	i.open[thread] = q
	s.do(setTimer{q.timer(), askWithin})
	s.askOf(q, 0, dap.Ask("stackTrace", map[string]any{"threadId": thread, "startFrame": 0, "levels": maxFrames}))
	return q
}

func (s *session) askOf(q *inquiry, index int, m dap.Message) {
	s.do(toDebugger{m.Numbered(s.debugger.remember(pending{command: m.Command, own: true, inquired: inquired{q.number, q.round, index}}))})
}

// inquiryAnswered takes the debugger's answer to a question; late ones are dropped.
func (s *session) inquiryAnswered(of inquired, m dap.Message) {
	for _, q := range s.inquiries.open {
		if q.number != of.number || q.round != of.round {
			continue
		}
		switch {
		case m.Command == "stackTrace":
			s.stackTold(q, m)
		case q.found.Peer.IsValid():
			s.detailTold(q, of.index, m)
		default:
			s.peerTold(q, of.index, m)
		}
		return
	}
}

// stackTold goes on with the clues that fit the stack.
func (s *session) stackTold(q *inquiry, m dap.Message) {
	frames, _ := framesOf(m)
	for _, c := range s.chosen.debugger.Clues() {
		if c.Common() {
			continue
		}
		for _, f := range slices.Backward(frames) {
			if c.In(f.Name) {
				q.asked = append(q.asked, probe{clue: c, frame: f.ID})
			}
		}
	}
	q.next = commonProbes(frames, s.chosen.debugger.Clues())
	if len(q.asked) == 0 {
		q.asked, q.next = q.next, nil
	}
	s.probe(q)
}

// probe asks all of q.asked at once: some debuggers take long for each answer, and no longer for several.
func (s *session) probe(q *inquiry) {
	q.round++
	q.asked = q.asked[:min(len(q.asked), maxProbes)]
	if len(q.asked) == 0 {
		s.inquiryOver(q)
		return
	}
	for i, p := range q.asked {
		s.evaluate(q, i, p.frame, p.clue.Peer)
	}
}

func (s *session) evaluate(q *inquiry, index, frame int, expression string) {
	s.askOf(q, index, dap.Ask("evaluate", map[string]any{"expression": expression, "frameId": frame, "context": "watch"}))
}

// peerTold takes what a probe found. The first one that knows counts, when those before it do not.
func (s *session) peerTold(q *inquiry, index int, m dap.Message) {
	p := &q.asked[index]
	p.answered = true
	if value, ok := valueOf(m); ok {
		p.served, p.ok = debugger.ReadPeer(value)
	}
	for _, p := range q.asked {
		switch {
		case !p.answered:
			return
		case p.ok:
			q.found = p.served
			s.detail(q, p)
			return
		}
	}
	q.asked, q.next = q.next, nil
	s.probe(q)
}

// detail asks for what else there is to tell streams and requests of a connection apart.
func (s *session) detail(q *inquiry, p probe) {
	q.round++
	for index, expression := range [...]string{p.clue.Stream, p.clue.Path} {
		if expression != "" {
			q.missing++
			s.evaluate(q, index, p.frame, expression)
		}
	}
	if q.missing == 0 {
		s.inquiryOver(q)
	}
}

func (s *session) detailTold(q *inquiry, index int, m dap.Message) {
	value, ok := valueOf(m)
	switch {
	case !ok:
	case index == 0:
		q.found.ReadStream(value)
	default:
		q.found.ReadPath(value)
	}
	if q.missing--; q.missing == 0 {
		s.inquiryOver(q)
	}
}

// inquiryOver shows what was found, also to those who ask later.
func (s *session) inquiryOver(q *inquiry) {
	s.do(stopTimer{q.timer()})
	s.inquiryEnds(q)
}

// inquiryLate ends the inquiry of a timer with nothing.
func (s *session) inquiryLate(t timer) {
	for _, q := range s.inquiries.open {
		if q.timer() == t {
			q.found = debugger.Served{}
			s.inquiryEnds(q)
			return
		}
	}
}

func (s *session) inquiryEnds(q *inquiry) {
	delete(s.inquiries.open, q.thread)
	if s.inquiries.found == nil {
		s.inquiries.found = map[int]debugger.Served{}
	}
	s.inquiries.found[q.thread] = q.found
	for _, g := range q.waiting {
		s.show(g, q.found)
	}
}

// threadRuns forgets what was asked about a thread, or with 0 about all: it goes on, or stopped anew.
func (s *session) threadRuns(thread int) {
	i := &s.inquiries
	for _, of := range slices.Sorted(maps.Keys(i.open)) {
		if q := i.open[of]; thread == 0 || of == thread {
			q.found = debugger.Served{}
			s.inquiryOver(q)
		}
	}
	maps.DeleteFunc(i.found, func(of int, _ debugger.Served) bool { return thread == 0 || of == thread })
	maps.DeleteFunc(i.frames, func(_, of int) bool { return thread == 0 || of == thread })
}

// stackPassed remembers whose frames the editor is told of: it asks for scopes by the frame alone.
func (s *session) stackPassed(thread int, m dap.Message) {
	frames, err := framesOf(m)
	if err != nil || thread == 0 {
		return
	}
	if s.inquiries.frames == nil {
		s.inquiries.frames = map[int]int{}
	}
	for _, f := range frames {
		s.inquiries.frames[f.ID] = thread
	}
}
