package adapter

import (
	"maps"
	"slices"

	"podstep.dev/adapter/dap"
)

// pending is a request that was passed on and is not answered.
type pending struct {
	seq     int // the number that its sender gave it
	command string
	subject subject
	own     bool // podstep sent it: the answer is swallowed
	inquiry int  // of which, if of one
}

// request is enough of the editor's request to answer it.
func (p pending) request() dap.Message {
	return dap.Message{Seq: p.seq, Command: p.command, Type: dap.Request}
}

// numbers counts what is sent to one side and remembers which requests wait for an answer from it. A request is remembered before it is
// written, so the answer cannot overtake.
type numbers struct {
	last int
	open map[int]pending
}

func (n *numbers) next() int {
	n.last++
	return n.last
}

// remember gives a request its number.
func (n *numbers) remember(p pending) int {
	if n.open == nil {
		n.open = map[int]pending{}
	}
	seq := n.next()
	n.open[seq] = p
	return seq
}

// answered returns the request that requestSeq answers and forgets it.
func (n *numbers) answered(requestSeq int) (pending, bool) {
	p, ok := n.open[requestSeq]
	delete(n.open, requestSeq)
	return p, ok
}

// sentAs returns the number under which the sender's request seq was passed on.
func (n *numbers) sentAs(seq int) (int, bool) {
	for as, p := range n.open {
		if p.seq == seq && !p.own {
			return as, true
		}
	}
	return 0, false
}

// forget returns all that wait, oldest first, and forgets them.
func (n *numbers) forget() []pending {
	var all []pending
	for _, seq := range slices.Sorted(maps.Keys(n.open)) {
		all = append(all, n.open[seq])
	}
	n.open = nil
	return all
}

// restarted begins a numbering anew, for a new debugger.
func (n *numbers) restarted() { *n = numbers{} }
