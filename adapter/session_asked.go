package adapter

import (
	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/dap"
)

// asked takes a question of somebody who wants ports back. Every editor shows the line; one that knows the event podstep/asked offers the answers.
func (s *session) asked(q borrow.Question) []action {
	s.tell(dap.Output("important", "podstep: "+q.String()+"; yes: podstep yield, no: podstep yield --keep\n"))
	s.tell(dap.Tell("podstep/asked", question{q, q.String()}))
	return s.take()
}

// question is the body of the event podstep/asked.
type question struct {
	borrow.Question
	// Text is the question in words.
	Text string `json:"text"`
}
