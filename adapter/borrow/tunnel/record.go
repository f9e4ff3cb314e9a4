package tunnel

import (
	"net/netip"

	"podstep.dev/internal/wire"
)

// Recorder hears of every request that comes on its own stream, and of those in copies of connections, as far as they can be told apart. It must
// not block.
type Recorder interface {
	// Begin is called when a request has come, before anything is decided about it. From any goroutine.
	Begin(h wire.Header) Recording
}

// Recording is one request and its response. Its methods are called from at most two goroutines at once, one for the
// request's side and one for the response's; End is the last call of all. None may block; bytes are copied if they are kept.
type Recording interface {
	// ID is the request's number for people, 0 when nothing is recorded.
	ID() uint64
	// Request has the next bytes that the client sent, as far as they came: of a request that went to the target, its head
	// and what came with it. From the request's side.
	Request(b []byte)
	// Response has the next bytes of the answer: of the debuggee, or of podstep itself. From the response's side.
	Response(b []byte)
	// Went says who answers, one of the Went* words, and why if it is not the debuggee. It is called when a rule has the request
	// wait, when it is decided where it goes, and again when the debuggee got it and did not answer: the last word counts. From the
	// response's side.
	Went(where, why string)
	// SeenAs says how the debuggee sees the request: from which peer, and of HTTP/2 on which stream of that connection, else 0. It is called when
	// the request is delivered, and again when it is over another connection. From the response's side.
	SeenAs(peer netip.AddrPort, stream uint32)
	// End says that it is over, and what cut it short, or nil.
	End(err error)
}

// Who answers a request.
const (
	// WentDebuggee : it was delivered to the debuggee.
	WentDebuggee = "debuggee"
	// WentCopy : a copy was delivered to the debuggee, and what it answers is dropped; the target answers.
	WentCopy = "copy"
	// WentTarget : the debuggee did not get it, or did not answer and it may fall back; the target answers.
	WentTarget = "target"
	// WentNobody : the client is told of a failure, 502 or 504 by the agent, 503 or what a rule says by podstep.
	WentNobody = "nobody"
	// WentHeld : a rule has it wait for somebody; nobody has it yet.
	WentHeld = "held"
	// WentDelayed : a rule has it wait for a while; nobody has it yet.
	WentDelayed = "delayed"
)

func (t *Tunnel) record(h wire.Header) Recording {
	if t.Recorder == nil {
		return unrecorded{}
	}
	return t.Recorder.Begin(h)
}

// unrecorded keeps nothing.
type unrecorded struct{}

func (unrecorded) ID() uint64                    { return 0 }
func (unrecorded) Request([]byte)                {}
func (unrecorded) Response([]byte)               {}
func (unrecorded) Went(string, string)           {}
func (unrecorded) SeenAs(netip.AddrPort, uint32) {}
func (unrecorded) End(error)                     {}
