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
	ID     int    `json:"id"`
	Name   string `json:"name"`
	Hint   string `json:"presentationHint"`
	Source struct {
		Path string `json:"path"`
	} `json:"source"`
}

// isOthers says that the frame is not of the program, or of no function.
func (f frame) isOthers() bool {
	return f.Hint == "subtle" || f.Hint == "label" || f.Name == "<module>" || strings.HasPrefix(f.Name, "runtime.")
}

// stack is the body of an answer to stackTrace, empty when it is a failure.
type stack struct {
	Frames []frame `json:"stackFrames"`
	Total  int     `json:"totalFrames"`
}

func stackOf(m dap.Message) (s stack) {
	_ = m.Decode("body", &s) // one of another form tells nothing
	return s
}

// valueOf is what an expression has, empty when it cannot be evaluated.
func valueOf(m dap.Message) string {
	var body struct {
		Result string `json:"result"`
	}
	if !m.Success || m.Decode("body", &body) != nil {
		return ""
	}
	return body.Result
}

// probe is a clue in a frame.
type probe struct {
	clue  debugger.Clue
	frame int
	place string // of the frame in the program, of a clue that every frame may have
}

// lore is how many of the clues that every frame may have told nothing at a place in the program: they do not at the next line either.
type lore map[string]int

// probes are the places where to look, the best first: the servers' own frames, and then the bottom of the stack, where the program's code begins:
// what it was called with is there.
func (l lore) probes(frames []frame, clues []debugger.Clue) (probes []probe) {
	const bottom = 2
	var common []debugger.Clue
	for _, c := range clues {
		if c.Common() {
			common = append(common, c)
			continue
		}
		for _, f := range slices.Backward(frames) {
			if c.In(f.Name) {
				probes = append(probes, probe{clue: c, frame: f.ID})
			}
		}
	}
	var places []string
	for _, f := range slices.Backward(frames) {
		place := f.Source.Path + " " + f.Name
		if f.isOthers() || len(places) == bottom || slices.Contains(places, place) {
			continue
		}
		places = append(places, place)
		for _, c := range common[min(l[place], len(common)):] {
			probes = append(probes, probe{clue: c, frame: f.ID, place: place})
		}
	}
	return probes
}

// learn takes what a probe came to.
func (l *lore) learn(p probe, told bool) {
	if told || p.place == "" {
		return
	}
	if *l == nil {
		*l = lore{}
	}
	(*l)[p.place]++
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
