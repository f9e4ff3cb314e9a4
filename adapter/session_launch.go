package adapter

import (
	"encoding/json"
	"fmt"

	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
	"podstep.dev/internal/fault"
)

// said takes a line of progress from what is being done.
func (s *session) said(text string) []action {
	s.say("%s", text)
	s.progressUpdate(text)
	return s.take()
}

// printed takes output of a build or of the debugger's own streams.
func (s *session) printed(category, text string) []action {
	s.tell(dap.Output(category, text))
	return s.take()
}

// borrowed follows borrow.
func (s *session) borrowed() []action {
	if s.phase == borrowing {
		s.follower.can = true
		s.follow()
		s.progressUpdate("preparing " + s.chosen.debugger.Name())
		s.enter(preparing)
		s.do(prepare{s.chosen.debugger, s.chosen.attributes})
	}
	return s.take()
}

// prepared follows prepare.
func (s *session) prepared() []action {
	switch {
	case s.restart.rebuilding:
		s.replace()
	case s.phase == preparing:
		s.startDebugger()
	}
	return s.take()
}

func (s *session) startDebugger() {
	s.debugger.restarted()
	s.ending = false
	s.progressUpdate("starting " + s.chosen.debugger.Name())
	s.enter(starting)
	s.do(startDebugger{s.chosen.debugger})
}

// started follows startDebugger; attributes are what to launch with. The debugger gets the editor's own initialize.
func (s *session) started(attributes debugger.Attributes) []action {
	if s.phase != starting {
		return s.take()
	}
	s.chosen.attributes = attributes
	s.enter(greeting)
	hello := s.initialize
	if hello.Raw == nil {
		hello = dap.Ask("initialize", map[string]any{"adapterID": s.chosen.debugger.Name(), "linesStartAt1": true, "columnsStartAt1": true, "pathFormat": "path"})
	}
	s.ask(hello)
	return s.take()
}

// greeted takes the debugger's answer to initialize: now it gets the launch, and then what was held.
func (s *session) greeted(answer dap.Message) {
	if s.phase != greeting {
		return
	}
	if !answer.Success {
		s.abort(fault.New(fault.DebuggerStart, s.chosen.debugger.Name()+" refused to initialize", problemOf(answer)))
		return
	}
	s.learned(answer.Field("body"))
	s.phase = running
	raw := s.template.With(dap.Field{Name: "arguments", Value: s.chosen.attributes.Raw()})
	launch, err := dap.Parse(raw)
	if err != nil {
		s.abort(fault.New(fault.Internal, "the launch request could not be rewritten", err))
		return
	}
	if s.restart.active() {
		s.restart.waiting = true
		s.ask(launch)
	} else {
		s.progressEnd()
		s.forward(launch)
		s.flush()
	}
	s.tellState()
}

// flush passes on what was held, in order.
func (s *session) flush() {
	held := s.held
	s.held = nil
	for _, m := range held {
		s.pass(m)
	}
}

// failed follows borrow, prepare or startDebugger. Everything begun is undone.
func (s *session) failed(f *fault.Fault) []action {
	switch {
	case s.restart.rebuilding:
		s.restartFailed(f)
	case s.phase != over:
		s.abort(f)
	}
	return s.take()
}

// problemOf is the debugger's own word for a failure.
func problemOf(answer dap.Message) error {
	var body struct {
		Error struct {
			Format string `json:"format"`
		} `json:"error"`
	}
	_ = answer.Decode("body", &body)
	if body.Error.Format != "" {
		return fmt.Errorf("%s", body.Error.Format)
	}
	var text string
	if err := json.Unmarshal(answer.Field("message"), &text); err != nil || text == "" {
		return fmt.Errorf("it did not say why")
	}
	return fmt.Errorf("%s", text)
}

// progressStart shows that something takes its time.
func (s *session) progressStart(text string, cancellable bool) {
	s.progressEnd()
	s.progresses++
	s.progress = fmt.Sprintf("podstep-%d", s.progresses)
	if s.client.SupportsProgressReporting {
		s.tell(dap.ProgressStart(s.progress, "podstep", text, cancellable))
	}
}

func (s *session) progressUpdate(text string) {
	if s.progress != "" && s.client.SupportsProgressReporting {
		s.tell(dap.ProgressUpdate(s.progress, text))
	}
}

func (s *session) progressEnd() {
	if s.progress != "" && s.client.SupportsProgressReporting {
		s.tell(dap.ProgressEnd(s.progress))
	}
	s.progress = ""
}
