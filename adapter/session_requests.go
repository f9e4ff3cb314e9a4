package adapter

import (
	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/adapter/dap"
)

// follower is a client that asked for requests: it is told of those that come. Others are not, they might show what they do not know.
type follower struct {
	asked bool // the client did
	can   bool // there is a borrow
}

// aboutRequests are the requests about requests.
func aboutRequests() []string {
	return []string{"podstep/requests", "podstep/request", "podstep/replay", "podstep/release", "podstep/rules"}
}

// requestsRequested takes the requests about requests.
func (s *session) requestsRequested(m dap.Message) {
	if m.Command == "podstep/requests" && !s.follower.asked {
		s.follower.asked = true
		s.follow() // before the list is made: nothing is missed in between
	}
	s.do(consult{m})
}

// follow begins to tell the client of requests, once it asked and something can come.
func (s *session) follow() {
	if s.follower.asked && s.follower.can {
		s.do(followRequests{})
	}
}

// consulted follows consult: it answers with body, or says why there is none.
func (s *session) consulted(request dap.Message, body any, err error) []action {
	if err != nil {
		s.failQuietly(request, err.Error())
	} else {
		s.succeed(request, body)
	}
	return s.take()
}

// requestsChanged says that requests came or changed, the oldest first, and how many are not among them. A client that is told of the latter asks
// for the list again if it shows it.
func (s *session) requestsChanged(changed []requests.Summary, omitted int) []action {
	s.tell(dap.Tell("podstep/request", told{changed, omitted}))
	return s.take()
}

// requestHeld says that a rule holds a request, or how it went on. The person was told by a line already.
func (s *session) requestHeld(h tunnel.Held, how tunnel.Release) []action {
	if how == "" {
		s.tell(dap.Tell("podstep/held", h))
	} else {
		s.tell(dap.Tell("podstep/released", released{h.ID, how}))
	}
	return s.take()
}

// released is the body of the event podstep/released.
type released struct {
	ID     uint64         `json:"id"`
	Action tunnel.Release `json:"action"`
}

// told is the body of the event podstep/request.
type told struct {
	Requests []requests.Summary `json:"requests"`
	Omitted  int                `json:"omitted"`
}
