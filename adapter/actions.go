package adapter

import (
	"time"

	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
)

// action is something that the session wants done. Serve does them in order.
type action interface{ isAction() }

type (
	// toEditor sends a message.
	toEditor struct{ raw []byte }
	// toDebugger sends a message.
	toDebugger struct{ raw []byte }
	// beginBorrow begins the borrow for a launch; session.borrowed or session.failed follows.
	beginBorrow struct{ choice }
	// prepare readies a launch; session.prepared or session.failed follows.
	prepare struct {
		debugger   debugger.Debugger
		attributes debugger.Attributes
	}
	// startDebugger starts what was prepared last; session.started or session.failed follows.
	startDebugger struct{ debugger debugger.Debugger }
	// endDebugger ends the debugger with all it started; session.debuggerGone follows.
	endDebugger struct{}
	// report asks the borrow what it does; session.reported follows.
	report struct{ request dap.Message }
	// consult asks the log of requests; session.consulted follows.
	consult struct{ request dap.Message }
	// followRequests lets session.requestsChanged follow whenever requests come or change.
	followRequests struct{}
	// settle gives stolen ports back, or answers no to who asks for them; session.consulted follows.
	settle struct{ request dap.Message }
	// lookInside asks which requests the debuggee has; session.looked follows, with the answer to the editor's request.
	lookInside struct {
		answer     dap.Message
		requestSeq int
		frame      int // whose scopes they are
	}
	// pauseChanged tells the borrow.
	pauseChanged struct{ paused bool }
	// giveBack has the target answer again, while debugging ends: what the debugger stops on its way must keep nobody waiting. Nothing follows.
	giveBack struct{}
	// setTimer lets session.fired follow, once. A timer of the same name is replaced.
	setTimer struct {
		name  timer
		after time.Duration
	}
	// stopTimer keeps it from firing.
	stopTimer struct{ name timer }
	// release ends the debugger and gives the borrow back, while the editor is still there. Nothing follows.
	release struct{}
	// finish ends the session. cause is nil when it ended as the person wanted.
	finish struct{ cause error }
)

func (toEditor) isAction()       {}
func (toDebugger) isAction()     {}
func (beginBorrow) isAction()    {}
func (prepare) isAction()        {}
func (startDebugger) isAction()  {}
func (endDebugger) isAction()    {}
func (pauseChanged) isAction()   {}
func (giveBack) isAction()       {}
func (report) isAction()         {}
func (consult) isAction()        {}
func (followRequests) isAction() {}
func (lookInside) isAction()     {}
func (settle) isAction()         {}
func (setTimer) isAction()       {}
func (stopTimer) isAction()      {}
func (release) isAction()        {}
func (finish) isAction()         {}

// timer names one of the session's timers.
type timer string

const (
	// stepTimer: a step that runs longer is a debuggee that runs.
	stepTimer timer = "step"
	// answerTimer: the editor gets its answer to disconnect even when the debugger gives none.
	answerTimer timer = "answer"
	// endTimer: a debugger that was asked to end is ended.
	endTimer timer = "end"
	// overTimer: debugging is over; an editor that says nothing more does not keep the borrow.
	overTimer timer = "over"
	// leaveTimer: nor the session.
	leaveTimer timer = "leave"
	// askTimer begins the names of timers, one for each inquiry: an answer to scopes does not wait longer for what the debugger is asked besides.
	askTimer timer = "ask"
)

const (
	stepAfter = 500 * time.Millisecond
	// answerAfter keeps the answer to disconnect below 500 ms: VS Code sends SIGTERM after 2 s, and the clean-up comes after the answer.
	answerAfter = 400 * time.Millisecond
	endAfter    = 700 * time.Millisecond
	overAfter   = 400 * time.Millisecond
	leaveAfter  = 5 * time.Second
	// askWithin is little beside what editors ask. dlv takes a millisecond or two for an answer, debugpy some 45.
	askWithin = 300 * time.Millisecond
)
