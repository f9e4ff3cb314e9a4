package adapter

import (
	"encoding/json"
	"slices"
	"strings"

	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
	"podstep.dev/internal/fault"
)

// fromEditor takes a message of the editor.
func (s *session) fromEditor(m dap.Message) []action {
	switch m.Type {
	case dap.Request:
		s.requested(m)
	case dap.Response:
		if p, ok := s.editor.answered(m.RequestSeq); ok && s.hears() {
			s.do(toDebugger{m.Answering(s.debugger.next(), p.seq)})
		}
	default:
		if s.hears() {
			s.do(toDebugger{m.Numbered(s.debugger.next())})
		}
	}
	return s.take()
}

// hears reports whether there is a debugger that takes messages.
func (s *session) hears() bool { return s.phase == running || s.phase == greeting }

func (s *session) requested(m dap.Message) {
	switch {
	case m.Command == "podstep/status":
		s.do(report{m})
		return
	case slices.Contains(aboutRequests(), m.Command):
		s.requestsRequested(m)
		return
	case m.Command == "podstep/yield", m.Command == "podstep/keep":
		s.do(settle{m})
		return
	case strings.HasPrefix(m.Command, "podstep/"):
		s.failQuietly(m, "podstep knows no request "+m.Command)
		return
	}
	switch m.Command {
	case "initialize":
		s.initializeRequested(m)
	case "launch":
		s.launchRequested(m)
	case "attach":
		s.attachRequested(m)
	case "disconnect":
		s.disconnectRequested(m)
	case "terminate":
		s.terminateRequested(m)
	case "cancel":
		s.cancelRequested(m)
	case "restart":
		s.restartRequested(m)
	case "variables", "setVariable":
		if !s.variablesRequested(m) {
			s.pass(m)
		}
	default:
		s.pass(m)
	}
}

// pass forwards an ordinary request, holds it while there is no debugger to take it, or answers it when there will be none.
func (s *session) pass(m dap.Message) {
	switch s.phase {
	case running:
		if s.restart.holds() {
			s.holdForRestart(m)
			return
		}
		s.pauseRequested(m)
		s.forward(m)
	case over:
		s.failQuietly(m, "debugging is over")
	case fresh, borrowing, preparing, starting, greeting, replacing:
		if s.restart.active() {
			s.holdForRestart(m)
			return
		}
		s.held = append(s.held, m)
	}
}

// initializeRequested answers at once: no debugger runs before the launch configuration is known, and editors give up within seconds. The
// answer is what the debugger answered when it was recorded; differences follow as a capabilities event (docs/decisions/0003-initialize.md).
func (s *session) initializeRequested(m dap.Message) {
	if s.initialize.Raw != nil {
		s.failQuietly(m, "initialize was sent twice")
		return
	}
	s.initialize = m
	_ = m.Decode("arguments", &s.client) // fields of other types mean an editor without them
	name := s.named
	if name == "" {
		name = s.client.AdapterID
	}
	s.told = capabilities(debugger.Named(name))
	s.succeed(m, s.told.Raw())
}

// launchRequested begins the borrow. The launch and all that comes after it is held meanwhile.
func (s *session) launchRequested(m dap.Message) {
	if s.phase != fresh {
		s.failQuietly(m, "the session was launched already")
		return
	}
	chosen, f := s.choose(m.Field("arguments"))
	if f != nil {
		s.launch = m
		s.abort(f)
		return
	}
	s.chosen, s.launch, s.template = chosen, m, m
	s.progressStart("borrowing the target", true)
	s.enter(borrowing)
	s.do(beginBorrow{chosen})
}

func (s *session) attachRequested(m dap.Message) {
	if s.phase != fresh {
		s.failQuietly(m, "the session was launched already")
		return
	}
	s.launch = m
	s.abort(&fault.Fault{
		ID: fault.BadConfig, What: "podstep cannot attach: a process that runs already is not intercepted",
		Hint: `Use "request": "launch"; podstep starts the debuggee.`,
	})
}

// choose reads a launch configuration.
func (s *session) choose(arguments json.RawMessage) (choice, *fault.Fault) {
	all, err := debugger.ParseAttributes(arguments)
	if err != nil {
		return choice{}, fault.New(fault.BadConfig, "the launch configuration is not valid", err)
	}
	c := choice{attributes: all.Without(debugger.Own), mirror: all.Value("mirror")}
	if !all.Has("mirror") {
		return choice{}, &fault.Fault{
			ID: fault.BadConfig, What: `the launch configuration has no "mirror" block`,
			Hint: `Add one, for example "mirror": {"target": "deployment/web"}.`,
		}
	}
	asked := all
	if s.named != "" && !all.Has("debugger") {
		asked = all.With("debugger", s.named)
	}
	if c.debugger, err = debugger.Choose(asked); err != nil {
		return choice{}, fault.As(err)
	}
	if original := all.Text("__podstepType"); original != "" {
		c.attributes = c.attributes.With("type", original)
	}
	return c, nil
}
