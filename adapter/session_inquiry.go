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
	// maxProbes bounds in how many places an inquiry looks for a peer.
	maxProbes = 8
)

// inquiries are what the session asks the debugger of its own accord while threads are stopped: which of several requests a thread has.
type inquiries struct {
	last   int
	frames map[int]int             // to their threads, as the debugger told the editor
	stacks map[int][]frame         // by thread, those that the editor was told of whole
	found  map[int]debugger.Served // by thread, since it stopped; the zero value is nothing
	open   map[int]*inquiry        // by thread
	lore   lore
}

// inquiry asks about one thread, one question after the other: some debuggers take longer for two at once.
type inquiry struct {
	number, thread int
	waiting        []glimpse // answered when it is over
	probes         []probe   // not asked yet
	found          debugger.Served
	answered       bool              // a question was
	take           func(dap.Message) // the answer to the question that is asked
}

// glimpse is an answer to scopes that waits, with the requests that were inside.
type glimpse struct {
	look    lookInside
	entries []requests.Entry
}

func (q *inquiry) timer() timer { return timer(fmt.Sprintf("%s %d", askTimer, q.number)) }

// whose finds out which request a thread has, if there are several and the debugger can tell, and shows it then. It reports whether it does. Of one
// alone nothing is asked: a goroutine that its handler started could not tell either.
func (s *session) whose(g glimpse) bool {
	thread, known := s.inquiries.frames[g.look.frame]
	if !known {
		return false
	}
	if served, done := s.inquiries.found[thread]; done {
		s.show(g, served)
		return true
	}
	leaving := s.phase != running || s.ending || s.terminated || s.disconnect.Command != "" || s.restart.active()
	if len(g.entries) < 2 || leaving || len(s.chosen.debugger.Clues()) == 0 {
		return false
	}
	if q := s.inquiries.open[thread]; q != nil {
		q.waiting = append(q.waiting, g)
		return true
	}
	s.inquire(thread, g)
	return true
}

// inquire begins an inquiry with the thread's stack.
func (s *session) inquire(thread int, g glimpse) {
	i := &s.inquiries
	i.last++
	q := &inquiry{number: i.last, thread: thread, waiting: []glimpse{g}}
	put(&i.open, thread, q)
	s.do(setTimer{q.timer(), askWithin})
	if frames, whole := i.stacks[thread]; whole {
		s.probe(q, frames)
		return
	}
	stack := dap.Ask("stackTrace", map[string]any{"threadId": thread, "startFrame": 0, "levels": maxFrames})
	s.inquireWith(q, stack, func(m dap.Message) { s.probe(q, stackOf(m).Frames) })
}

// inquireWith asks a question. Its answer is dropped when the inquiry is over by then.
func (s *session) inquireWith(q *inquiry, m dap.Message, take func(dap.Message)) {
	q.take = take
	s.do(toDebugger{m.Numbered(s.debugger.remember(pending{command: m.Command, own: true, inquiry: q.number}))})
}

func (s *session) inquiryAnswered(number int, m dap.Message) {
	for _, q := range s.inquiries.open {
		if q.number == number {
			q.answered = true
			q.take(m)
			return
		}
	}
}

// probe goes on with the clues that fit the stack.
func (s *session) probe(q *inquiry, frames []frame) {
	q.probes = s.inquiries.lore.probes(frames, s.chosen.debugger.Clues())
	q.probes = q.probes[:min(len(q.probes), maxProbes)]
	s.probeNext(q)
}

// probeNext asks for the peer in the next place, until one knows, and there for what else tells requests of one connection apart.
func (s *session) probeNext(q *inquiry) {
	if len(q.probes) == 0 {
		s.inquiryOver(q)
		return
	}
	p := q.probes[0]
	q.probes = q.probes[1:]
	s.evaluate(q, p, p.clue.Peer, func(value string) {
		served, ok := debugger.ReadPeer(value)
		s.inquiries.lore.learn(p, ok)
		if !ok {
			s.probeNext(q)
			return
		}
		q.found = served
		s.evaluate(q, p, p.clue.Stream, func(value string) {
			q.found.ReadStream(value)
			s.evaluate(q, p, p.clue.Path, func(value string) {
				q.found.ReadPath(value)
				s.inquiryOver(q)
			})
		})
	})
}

// evaluate has take get an expression's value, empty when it has none. Of no expression none is asked.
func (s *session) evaluate(q *inquiry, p probe, expression string, take func(value string)) {
	if expression == "" {
		take("")
		return
	}
	m := dap.Ask("evaluate", map[string]any{"expression": expression, "frameId": p.frame, "context": "watch"})
	s.inquireWith(q, m, func(m dap.Message) { take(valueOf(m)) })
}

// inquiryOver shows what was found, also to those who ask later.
func (s *session) inquiryOver(q *inquiry) {
	s.do(stopTimer{q.timer()})
	s.inquiryEnds(q)
}

// inquiryLate ends the inquiry of a timer with nothing. Who asks later has another one begin, which knows what this one learned, unless the debugger
// says nothing at all.
func (s *session) inquiryLate(t timer) {
	for _, q := range s.inquiries.open {
		if q.timer() == t {
			q.found = debugger.Served{}
			s.inquiryEnds(q)
			if q.answered {
				delete(s.inquiries.found, q.thread)
			}
			return
		}
	}
}

func (s *session) inquiryEnds(q *inquiry) {
	delete(s.inquiries.open, q.thread)
	put(&s.inquiries.found, q.thread, q.found)
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
	maps.DeleteFunc(i.stacks, func(of int, _ []frame) bool { return thread == 0 || of == thread })
}

// stackPassed remembers whose frames the editor is told of: it asks for scopes by the frame alone.
func (s *session) stackPassed(of subject, m dap.Message) {
	if of.Thread == 0 {
		return
	}
	told := stackOf(m)
	for _, f := range told.Frames {
		put(&s.inquiries.frames, f.ID, of.Thread)
	}
	if n := len(told.Frames); of.Start == 0 && n > 0 && n == told.Total {
		put(&s.inquiries.stacks, of.Thread, told.Frames)
	}
}

// put puts a value into a map that may not be there yet.
func put[V any](m *map[int]V, key int, v V) {
	if *m == nil {
		*m = map[int]V{}
	}
	(*m)[key] = v
}
