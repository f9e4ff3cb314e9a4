package adapter

import (
	"strings"

	"podstep.dev/adapter/dap"
	"podstep.dev/internal/fault"
)

// disconnectRequested overtakes all that is held.
func (s *session) disconnectRequested(m dap.Message) {
	if s.phase == running && s.disconnect.Command == "" && !s.ending && !s.restart.holds() && !s.restart.gone {
		s.quitRestart()
		s.threadRuns(0)
		s.disconnect = m
		s.do(giveBack{})
		s.do(setTimer{answerTimer, answerAfter})
		s.forward(m)
		return
	}
	s.quitRestart()
	s.quitLaunch("the session was ended")
	if s.disconnect.Command != "" {
		s.succeed(s.disconnect, nil)
	}
	s.succeed(m, nil)
	s.leave()
}

// terminateRequested works with every debugger: one that does not know terminate is asked to disconnect and end the debuggee.
func (s *session) terminateRequested(m dap.Message) {
	switch {
	case s.phase == running && !s.restart.active() && s.real.True("supportsTerminateRequest"):
		s.threadRuns(0)
		s.do(giveBack{})
		s.forward(m)
	case s.phase == running && !s.restart.active() && !s.ending:
		s.succeed(m, nil)
		s.ending = true
		s.threadRuns(0)
		s.do(giveBack{})
		s.ask(dap.AskDisconnect(false))
		s.do(setTimer{endTimer, endAfter})
	case s.phase == over || s.ending:
		s.succeed(m, nil)
	default:
		s.succeed(m, nil)
		s.cancelAll()
	}
}

// cancelAll ends a session that has not come far enough to be disconnected.
func (s *session) cancelAll() {
	s.quitRestart()
	s.quitLaunch("cancelled")
	s.tellTerminated()
	s.giveUp(nil)
}

// cancelRequested serves every debugger: what is held here, or begun here, is cancelled here.
func (s *session) cancelRequested(m dap.Message) {
	var which struct {
		RequestID  int    `json:"requestId"`
		ProgressID string `json:"progressId"`
	}
	if err := m.Decode("arguments", &which); err != nil {
		s.failQuietly(m, "the arguments of cancel are not valid")
		return
	}
	beginning := s.phase == borrowing || s.phase == preparing || s.phase == starting || s.phase == greeting
	switch {
	case beginning && !s.restart.active() &&
		(which.ProgressID != "" && which.ProgressID == s.progress || which.RequestID != 0 && which.RequestID == s.launch.Seq):
		s.succeed(m, nil)
		s.cancelAll()
		return
	case strings.HasPrefix(which.ProgressID, "podstep-"), s.cancelHeld(which.RequestID), !s.hears(), !s.real.True("supportsCancelRequest"):
		s.succeed(m, nil)
		return
	}
	if as, ok := s.debugger.sentAs(which.RequestID); ok {
		// The debugger knows the request by the number it was passed on with.
		s.forwardCancel(m, as)
		return
	}
	s.forward(m)
}

func (s *session) forwardCancel(m dap.Message, as int) {
	patched, err := dap.Parse(m.With(dap.Field{Name: "arguments", Value: withRequestID(m.Field("arguments"), as)}))
	if err != nil {
		s.failQuietly(m, err.Error())
		return
	}
	s.forward(patched)
}

// cancelHeld answers a held request instead of passing it on.
func (s *session) cancelHeld(seq int) bool {
	for i, m := range s.held {
		if m.Seq == seq {
			s.held = append(s.held[:i], s.held[i+1:]...)
			s.failQuietly(m, "cancelled")
			return true
		}
	}
	return false
}

// quitLaunch answers a launch that will not be, after the end of its progress, so that the editor neither shows an error nor keeps a toast.
func (s *session) quitLaunch(why string) {
	s.progressEnd()
	if s.launch.Command != "" {
		s.failQuietly(s.launch, why)
	}
	s.failOpen(why)
	s.launch = dap.Message{}
}

// failOpen answers all that the editor waits for, except launch and disconnect, which have their own ways.
func (s *session) failOpen(why string) {
	for _, p := range s.debugger.forget() {
		if p.own || p.seq == s.launch.Seq && p.command == s.launch.Command || p.command == "disconnect" {
			continue
		}
		s.failQuietly(p.request(), why)
	}
	for _, m := range s.held {
		s.failQuietly(m, why)
	}
	s.held = nil
	s.threadRuns(0)
	s.editor.open = nil
}

// abort ends debugging with a fault, which the person sees once.
func (s *session) abort(f *fault.Fault) {
	s.progressEnd()
	switch {
	case s.launch.Command != "":
		s.failWith(s.launch, f)
		s.failOpen(f.Summary())
		s.launch = dap.Message{}
		s.giveUp(f)
		return
	case s.restart.active():
		s.failWith(s.restart.request, f)
		s.restart = restart{}
	default:
		s.tell(dap.Output("important", "podstep: "+f.Error()+"\n"))
	}
	s.failOpen(f.Summary())
	s.tellTerminated()
	s.giveUp(f)
}

func (s *session) tellTerminated() {
	if !s.terminated {
		s.terminated = true
		s.tell(dap.Terminated())
	}
}

// giveUp gives everything back while the editor is still there.
func (s *session) giveUp(cause error) {
	s.pauseReset()
	s.enter(over)
	s.do(stopTimer{overTimer}, stopTimer{endTimer}, release{}, setTimer{leaveTimer, leaveAfter})
	s.cause = cause
	if s.disconnect.Command != "" {
		s.succeed(s.disconnect, nil)
		s.leave()
	}
}

// leave ends the session as the person wanted.
func (s *session) leave() {
	s.phase = over
	s.disconnect = dap.Message{}
	s.do(finish{nil})
}

// fired takes the end of a timer.
func (s *session) fired(t timer) []action {
	switch t {
	case stepTimer:
		s.stepRuns()
	case endTimer:
		s.do(endDebugger{})
	case answerTimer:
		if s.disconnect.Command != "" {
			s.succeed(s.disconnect, nil)
			s.failOpen("the session was ended")
			s.leave()
		}
	case overTimer:
		if s.phase == running && s.disconnect.Command == "" {
			s.failOpen("debugging is over")
			s.giveUp(nil)
		}
	case leaveTimer:
		s.do(finish{s.cause})
	default:
		s.inquiryLate(t)
	}
	return s.take()
}

// lost says that the borrow ended by itself.
func (s *session) lost(f *fault.Fault) []action {
	if s.phase != over && s.phase != fresh {
		s.quitRestart()
		s.abort(f)
	}
	return s.take()
}

// signalled says that podstep itself was told to end.
func (s *session) signalled() []action {
	if s.phase != over {
		s.quitRestart()
		s.quitLaunch("podstep was told to end")
		if s.phase != fresh {
			s.tellTerminated()
		}
		s.giveUp(nil)
	}
	s.do(finish{nil})
	return s.take()
}
