package adapter

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
	"podstep.dev/internal/fault"
)

// restart is podstep's own, the same for every debugger: build first, so that a program that does not build keeps the old one running; then
// end the debugger, start another, replay initialize and launch. Agent and subscriptions stay.
type restart struct {
	request    dap.Message // the editor's, while it is unanswered
	chosen     choice
	rebuilding bool // the old debugger still runs
	waiting    bool // the new one was sent launch and is not ready for breakpoints
	gone       bool // the old one ended while rebuilding
	terminated bool // it said so
}

// active reports whether a restart is under way.
func (r restart) active() bool { return r.request.Command != "" }

// holds reports whether requests wait for the new debugger although it runs.
func (r restart) holds() bool { return r.waiting }

func (s *session) restartRequested(m dap.Message) {
	switch {
	case s.restart.active():
		s.failQuietly(m, "a restart is under way")
		return
	case s.phase != running || s.ending || s.terminated || s.disconnect.Command != "":
		s.failQuietly(m, "there is nothing to restart: the session is "+string(s.phase))
		return
	}
	arguments := s.template.Field("arguments")
	var sent struct {
		Arguments json.RawMessage `json:"arguments"`
	}
	if err := m.Decode("arguments", &sent); err == nil && len(sent.Arguments) > 0 && string(sent.Arguments) != "null" {
		arguments = sent.Arguments
	}
	chosen, f := s.choose(arguments)
	if f != nil {
		s.failWith(m, f)
		return
	}
	if !same(chosen.mirror, s.chosen.mirror) {
		s.say(`the "mirror" block changed: that takes effect with the next start, not with a restart`)
		chosen.mirror = s.chosen.mirror
	}
	s.restart = restart{request: m, chosen: chosen, rebuilding: true}
	s.progressStart("restarting", false)
	s.do(prepare{chosen.debugger, chosen.attributes})
}

// replace ends the old debugger, of which the editor hears no more.
func (s *session) replace() {
	gone := s.restart.gone
	s.restart.rebuilding = false
	s.chosen = s.restart.chosen
	launch := s.launch
	s.launch = dap.Message{}
	if launch.Command != "" {
		s.failQuietly(launch, "restarted")
	}
	s.failOpen("restarted")
	s.forgetThreads()
	if gone {
		s.startDebugger()
		return
	}
	s.ask(dap.AskDisconnect(true))
	s.enter(replacing)
	s.do(setTimer{endTimer, endAfter})
}

// forgetThreads tells the editor that the old threads are gone, so that it shows none of them as stopped.
func (s *session) forgetThreads() {
	known := slices.Sorted(maps.Keys(s.pause.known))
	if s.pause.now() && len(known) > 0 {
		s.tell(dap.Continued(known[0]))
	}
	for _, id := range known {
		s.tell(dap.ThreadExited(id))
	}
	s.pauseReset()
}

// settled answers the restart once the new debugger is ready for breakpoints; what was held follows its initialized event.
func (s *session) settled() {
	if !s.restart.waiting {
		return
	}
	s.progressEnd()
	s.succeed(s.restart.request, nil)
	s.restart = restart{}
}

// relaunched takes the new debugger's answer to the replayed launch.
func (s *session) relaunched(m dap.Message) {
	switch {
	case m.Success && s.restart.waiting:
		s.settled()
		s.flush()
	case m.Success:
	case s.restart.waiting:
		request := s.restart.request
		s.restart = restart{}
		s.progressEnd()
		answer := m.With(dap.Field{Name: "command", Value: json.RawMessage(`"restart"`)})
		if patched, err := dap.Parse(answer); err == nil {
			s.do(toEditor{patched.Answering(s.editor.next(), request.Seq)})
		}
		s.failOpen("the restart failed")
		s.tellTerminated()
		s.giveUp(nil)
	default:
		s.abort(fault.New(fault.DebuggerStart, s.chosen.debugger.Name()+" could not launch the program again", problemOf(m)))
	}
}

// restartFailed keeps the old debugger when it is still there.
func (s *session) restartFailed(f *fault.Fault) {
	r := s.restart
	if r.gone || r.terminated {
		s.abort(f)
		return
	}
	s.progressEnd()
	s.restart = restart{}
	s.failWith(r.request, f)
	s.say("the running program stays as it is")
}

// quitRestart answers a restart that will not be.
func (s *session) quitRestart() {
	if s.restart.active() {
		s.progressEnd()
		s.failQuietly(s.restart.request, "the session was ended")
		s.restart.request = dap.Message{}
		s.restart.rebuilding = false
	}
}

// holdForRestart keeps what configures the new debugger. What asks about the old one's threads and frames has no answer any more.
func (s *session) holdForRestart(m dap.Message) {
	if strings.HasPrefix(m.Command, "set") || m.Command == "configurationDone" || m.Command == "threads" || m.Command == "breakpointLocations" {
		s.held = append(s.held, m)
		return
	}
	s.failQuietly(m, "restarting")
}

// withRequestID returns arguments with another requestId.
func withRequestID(arguments json.RawMessage, id int) json.RawMessage {
	a, err := debugger.ParseAttributes(arguments)
	if err != nil {
		return arguments
	}
	raw, err := json.Marshal(id)
	if err != nil {
		return arguments
	}
	return a.With("requestId", json.RawMessage(raw)).Raw()
}
