package adapter

import (
	"podstep.dev/adapter/dap"
	"podstep.dev/internal/fault"
)

// fromDebugger takes a message of the debugger.
func (s *session) fromDebugger(m dap.Message) []action {
	switch m.Type {
	case dap.Response:
		s.answered(m)
	case dap.Request:
		if s.hears() {
			s.do(toEditor{m.Numbered(s.editor.remember(pending{seq: m.Seq, command: m.Command}))})
		}
	default:
		s.happened(m)
	}
	return s.take()
}

// answered passes an answer to whoever asked.
func (s *session) answered(m dap.Message) {
	p, ok := s.debugger.answered(m.RequestSeq)
	if !ok {
		return
	}
	if p.own {
		s.ownAnswered(p, m)
		return
	}
	switch {
	case p.command == "launch":
		s.launch = dap.Message{}
		m = keepOursIn(m)
	case p.command == "scopes" && m.Success:
		s.do(lookInside{m, p.seq, p.subject.Frame})
		return
	case p.command == "stackTrace" && m.Success:
		s.stackPassed(p.subject, m)
	}
	s.do(toEditor{m.Answering(s.editor.next(), p.seq)})
	s.pauseAnswered(p, m)
	switch {
	case p.command == "disconnect":
		s.tellTerminated() // dlv says it behind its answer, some never
		s.leave()
	case p.command == "launch" && !m.Success:
		s.do(setTimer{overTimer, overAfter}) // editors disconnect; one that does not keeps nothing
	}
}

// ownAnswered takes the answer to a request that podstep sent itself.
func (s *session) ownAnswered(p pending, m dap.Message) {
	switch p.command {
	case "initialize":
		s.greeted(m)
	case "launch":
		s.relaunched(m)
	case "stackTrace", "evaluate":
		s.inquiryAnswered(p.inquiry, m)
	case "disconnect":
		// Some debuggers stay until their stdin closes, some exit.
		s.do(endDebugger{})
	}
}

// happened takes an event.
func (s *session) happened(m dap.Message) {
	if !s.hears() {
		if m.Event == "output" {
			s.tell(m)
		}
		return
	}
	switch m.Event {
	case "initialized":
		s.settled()
	case "capabilities":
		m = keepOursIn(m)
	case "terminated":
		s.debuggeeOver(m)
		return
	case "exited":
		if s.restart.active() {
			return
		}
	}
	s.tell(m)
	s.pauseHappened(m)
	if m.Event == "initialized" && !s.restart.active() {
		s.flush()
	}
}

// debuggeeOver takes terminated, which some debuggers send twice. An editor that then says nothing does not keep the borrow.
func (s *session) debuggeeOver(m dap.Message) {
	switch {
	case s.restart.rebuilding:
		s.restart.terminated = true
	case s.restart.active(), s.terminated:
	default:
		s.terminated = true
		s.pauseReset()
		s.tell(m)
		s.do(setTimer{overTimer, overAfter})
	}
}

// debuggerGone says that the debugger is no more and its messages are all told. It follows endDebugger, or comes by itself.
func (s *session) debuggerGone() []action {
	s.do(stopTimer{endTimer})
	switch {
	case s.phase == over:
	case s.disconnect.Command != "":
		s.succeed(s.disconnect, nil)
		s.leave()
	case s.phase == replacing:
		s.startDebugger()
	case s.restart.rebuilding:
		s.restart.gone = true
	case s.phase == starting || s.phase == greeting:
		s.abort(fault.New(fault.DebuggerStart, s.chosen.debugger.Name()+" ended before the session began", nil))
	case s.ending || s.terminated:
		s.failOpen("debugging is over")
		s.tellTerminated()
		s.giveUp(nil)
	case s.phase == running:
		s.abort(fault.New(fault.DebuggerLost, s.chosen.debugger.Name()+" ended unexpectedly", nil))
	}
	return s.take()
}
