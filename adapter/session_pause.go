package adapter

import (
	"podstep.dev/adapter/dap"
)

// pause knows whether the debuggee is stopped: every thread, not one. While it is, new connections must not wait for it.
type pause struct {
	told    bool         // what the borrow knows
	all     bool         // the debugger said that all threads stopped
	known   map[int]bool // threads the debugger has told of
	stopped map[int]bool // those it said are stopped
	listed  bool         // known is complete
	// A step runs the debuggee for a moment; only one that runs longer than stepAfter ends the pause.
	stepping, timing bool
}

// now reports whether every thread is stopped.
func (p *pause) now() bool {
	if p.all {
		return true
	}
	if !p.listed || len(p.known) == 0 {
		return false
	}
	for id := range p.known {
		if !p.stopped[id] {
			return false
		}
	}
	return true
}

func (p *pause) add(id int) {
	if p.known == nil {
		p.known = map[int]bool{}
	}
	p.known[id] = true
}

// run takes one thread, or all, as running.
func (p *pause) run(id int, all bool) {
	if all {
		p.stopped = nil
	} else if p.all { // until now all were stopped; the others still are
		p.stopped = map[int]bool{}
		for other := range p.known {
			p.stopped[other] = other != id
		}
	}
	delete(p.stopped, id)
	p.all = false
}

// pauseRequested remembers a step before it is passed on: its stopped event may come before its answer. Nothing is asked of what runs.
func (s *session) pauseRequested(m dap.Message) {
	switch {
	case steps(m.Command):
		s.pause.stepping = true
		s.threadRuns(0)
	case m.Command == "continue", m.Command == "reverseContinue":
		s.threadRuns(0)
		s.inquiries.lore = nil
	}
}

func steps(command string) bool {
	switch command {
	case "next", "stepIn", "stepOut", "stepBack", "restartFrame", "goto":
		return true
	}
	return false
}

// pauseAnswered takes the debugger's answer to the editor's request.
func (s *session) pauseAnswered(p pending, m dap.Message) {
	switch {
	case !m.Success:
		if steps(p.command) {
			s.stepEnds()
		}
	case p.command == "continue" || p.command == "reverseContinue":
		body := struct {
			All *bool `json:"allThreadsContinued"`
		}{}
		_ = m.Decode("body", &body)
		s.stepEnds()
		s.pause.run(p.subject.Thread, body.All == nil || *body.All)
	case steps(p.command):
		s.stepBegins()
	case p.command == "threads":
		s.threadsListed(m)
	}
	s.pauseUpdate()
}

func (s *session) threadsListed(m dap.Message) {
	var body struct {
		Threads []struct {
			ID int `json:"id"`
		} `json:"threads"`
	}
	if m.Decode("body", &body) != nil {
		return
	}
	s.pause.known, s.pause.listed = nil, true
	for _, t := range body.Threads {
		s.pause.add(t.ID)
	}
}

// pauseHappened takes an event of the debugger.
func (s *session) pauseHappened(m dap.Message) {
	var body struct {
		ThreadID  int    `json:"threadId"`
		Reason    string `json:"reason"`
		Stopped   bool   `json:"allThreadsStopped"`
		Continued *bool  `json:"allThreadsContinued"`
	}
	if m.Decode("body", &body) != nil {
		return
	}
	p := &s.pause
	switch m.Event {
	case "stopped":
		s.stepEnds()
		s.threadRuns(body.ThreadID)
		p.all = p.all || body.Stopped
		if body.ThreadID != 0 {
			p.add(body.ThreadID)
			if p.stopped == nil {
				p.stopped = map[int]bool{}
			}
			p.stopped[body.ThreadID] = true
		}
	case "continued":
		s.threadRuns(0)
		if p.stepping {
			s.stepBegins()
			break
		}
		p.run(body.ThreadID, body.Continued == nil || *body.Continued)
	case "thread":
		p.listed = true
		if body.Reason == "exited" {
			delete(p.known, body.ThreadID)
			delete(p.stopped, body.ThreadID)
		} else {
			p.add(body.ThreadID)
		}
	default:
		return
	}
	s.pauseUpdate()
}

func (s *session) stepBegins() {
	if s.pause.stepping && !s.pause.timing {
		s.pause.timing = true
		s.do(setTimer{stepTimer, stepAfter})
	}
}

func (s *session) stepEnds() {
	if s.pause.timing {
		s.do(stopTimer{stepTimer})
	}
	s.pause.stepping, s.pause.timing = false, false
}

// stepRuns ends the pause: the step takes long.
func (s *session) stepRuns() {
	if s.pause.timing {
		s.pause.stepping, s.pause.timing = false, false
		s.pause.run(0, true)
		s.pauseUpdate()
	}
}

// pauseReset forgets all: there is no debuggee.
func (s *session) pauseReset() {
	s.stepEnds()
	s.pause = pause{told: s.pause.told}
	s.threadRuns(0)
	s.inquiries.lore = nil
	s.inside = inside{}
	s.pauseUpdate()
}

func (s *session) pauseUpdate() {
	if now := s.pause.now(); now != s.pause.told {
		s.pause.told = now
		s.do(pauseChanged{now})
		s.tellState()
	}
}
