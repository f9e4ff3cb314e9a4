package adapter

import (
	"fmt"

	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
	"podstep.dev/internal/fault"
)

// phase is how far a session has come.
type phase string

const (
	fresh     phase = "fresh"     // nothing was launched
	borrowing phase = "borrowing" // the borrow begins
	preparing phase = "preparing" // the debugger is looked for, the program built
	starting  phase = "starting"  // the debugger starts
	greeting  phase = "greeting"  // it has been sent initialize
	running   phase = "running"   // it has been sent launch; messages pass
	replacing phase = "replacing" // restart: the old debugger ends
	over      phase = "over"      // debugging is over; the editor may still say so
)

// session is the routing of one debug session: messages and happenings in, actions out. It does no input or output, knows no clock and
// starts no goroutine; its owner calls it from one goroutine and does the actions that each call returns, in order.
type session struct {
	phase      phase
	named      string // the debugger's name by option
	chosen     choice
	editor     numbers // what is sent to the editor
	debugger   numbers // what is sent to the debugger
	initialize dap.Message
	client     client
	told       debugger.Attributes // the capabilities as the editor knows them
	real       debugger.Attributes // those of the debugger
	launch     dap.Message         // the editor's, while it is unanswered
	template   dap.Message         // the editor's launch, for restarts
	held       []dap.Message
	progress   string // the id of the progress that is shown
	progresses int
	restart    restart
	pause      pause
	follower   follower
	inside     inside
	inquiries  inquiries
	disconnect dap.Message // the editor's, while it is unanswered
	ending     bool        // the debugger was asked to end
	terminated bool        // the editor was told
	cause      error       // why debugging is over, nil when the person wanted it
	out        []action
}

// client is what the editor says of itself.
type client struct {
	AdapterID                 string `json:"adapterID"`
	SupportsProgressReporting bool   `json:"supportsProgressReporting"`
}

func newSession(named string) *session {
	return &session{phase: fresh, named: named}
}

// do adds an action.
func (s *session) do(a ...action) { s.out = append(s.out, a...) }

// take returns the actions so far.
func (s *session) take() []action {
	out := s.out
	s.out = nil
	return out
}

// tell sends a message of podstep's own to the editor.
func (s *session) tell(m dap.Message) { s.do(toEditor{m.Numbered(s.editor.next())}) }

// say shows a line of podstep's own.
func (s *session) say(format string, args ...any) {
	s.tell(dap.Output("console", "podstep: "+fmt.Sprintf(format, args...)+"\n"))
}

// succeed answers a request of the editor.
func (s *session) succeed(request dap.Message, body any) { s.tell(dap.Succeed(request, body)) }

// failWith answers a request of the editor with a fault that the person sees.
func (s *session) failWith(request dap.Message, f *fault.Fault) {
	s.tell(dap.Fail(request, dap.Problem{ID: int(f.ID), Text: f.Error()}))
}

// notAFault is the id of failures that are nobody's mistake; faults have those of the catalogue.
const notAFault = 1

// failQuietly answers a request of the editor that nobody waits for any more.
func (s *session) failQuietly(request dap.Message, why string) {
	s.tell(dap.Fail(request, dap.Problem{ID: notAFault, Text: why, Silent: true}))
}

// forward sends a request of the editor to the debugger and remembers it first.
func (s *session) forward(m dap.Message) {
	s.do(toDebugger{m.Numbered(s.debugger.remember(pending{seq: m.Seq, command: m.Command, subject: subjectOf(m)}))})
}

// subject is what a request is about, where its answer does not say that.
type subject struct {
	Thread int `json:"threadId"` // to run, or whose stack
	Start  int `json:"startFrame"`
	Frame  int `json:"frameId"` // whose scopes
}

func subjectOf(m dap.Message) (of subject) {
	switch m.Command {
	case "continue", "reverseContinue", "stackTrace", "scopes":
		_ = m.Decode("arguments", &of) // without a thread all of them are meant
	}
	return of
}

// ask sends the debugger a request of podstep's own, whose answer the editor never sees.
func (s *session) ask(m dap.Message) {
	s.do(toDebugger{m.Numbered(s.debugger.remember(pending{command: m.Command, own: true}))})
}

// enter changes the phase and tells editors that want to know.
func (s *session) enter(p phase) {
	s.phase = p
	s.tellState()
}

func (s *session) tellState() {
	if s.initialize.Seq != 0 || s.initialize.Raw != nil {
		s.tell(dap.Tell("podstep/state", s.status()))
	}
}

// reported follows report: it answers podstep/status.
func (s *session) reported(request dap.Message, of any) []action {
	body := s.status()
	if of != nil {
		body["borrow"] = of
	}
	s.succeed(request, body)
	return s.take()
}

// status is the body of podstep/state and of the answer to podstep/status.
func (s *session) status() map[string]any {
	body := map[string]any{"state": string(s.phase), "paused": s.pause.told}
	if s.chosen.debugger != nil {
		body["debugger"] = s.chosen.debugger.Name()
	}
	return body
}
