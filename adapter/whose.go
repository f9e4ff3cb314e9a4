package adapter

import (
	"slices"
	"strings"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
)

// frame is what DAP calls so.
type frame struct {
	ID               int    `json:"id"`
	Name             string `json:"name"`
	PresentationHint string `json:"presentationHint"`
}

// isOthers says that the frame is not of the program, or of no function.
func (f frame) isOthers() bool {
	return f.PresentationHint == "subtle" || f.PresentationHint == "label" || f.Name == "<module>" || strings.HasPrefix(f.Name, "runtime.")
}

func framesOf(m dap.Message) ([]frame, error) {
	var body struct {
		StackFrames []frame `json:"stackFrames"`
	}
	err := m.Decode("body", &body)
	return body.StackFrames, err
}

// valueOf is what an expression has.
func valueOf(m dap.Message) (string, bool) {
	var body struct {
		Result string `json:"result"`
	}
	err := m.Decode("body", &body)
	return body.Result, err == nil && m.Success
}

// candidates are those of the requests that a thread can have: one when it is told, all of its connection when only that is known, and none when
// none of them is what the debugger told.
func candidates(served debugger.Served, entries []requests.Entry) []requests.Entry {
	var together, fitting []requests.Entry
	for _, e := range entries {
		if !served.Peer.IsValid() || debugger.Plain(e.Seen.Peer) != served.Peer {
			continue
		}
		fits := served.Asked(e.Path)
		if e.Seen.Stream == 0 { // of HTTP/1 a debuggee works on the oldest that is not answered
			if fits {
				return []requests.Entry{e}
			}
			return nil
		}
		together = append(together, e)
		if fits && (served.Stream == 0 || served.Stream == e.Seen.Stream) {
			fitting = append(fitting, e)
		}
	}
	if len(fitting) > 1 {
		return together
	}
	return fitting
}

// commonProbes look for what every frame may have at the bottom of the stack, where the program's code begins: what it was called with is there.
func commonProbes(frames []frame, clues []debugger.Clue) (probes []probe) {
	var bottom []frame
	for _, f := range slices.Backward(frames) {
		if !f.isOthers() && len(bottom) < commonFrames {
			bottom = append(bottom, f)
		}
	}
	for _, c := range clues {
		for _, f := range bottom {
			if c.Common() {
				probes = append(probes, probe{clue: c, frame: f.ID})
			}
		}
	}
	return probes
}
