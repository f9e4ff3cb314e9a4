package requests

import (
	"encoding/json"
	"errors"
)

// ErrNoControl says that the session answers nothing: there is nothing to hold, to fail or to delay.
var ErrNoControl = errors.New("this session takes no requests itself; rules are for \"mode\": \"steal\"")

// Release says how a request that a rule holds goes on.
type Release struct {
	// Action is "deliver", "target" or "fail".
	Action string `json:"action"`
	// Status and Body are what "fail" answers. Without a status, 503.
	Status int    `json:"status,omitempty"`
	Body   string `json:"body,omitempty"`
}

// Rule is one of a session's rules.
type Rule struct {
	// Rule is as it was written.
	Rule json.RawMessage `json:"rule"`
	// Words say it to people.
	Words string `json:"words"`
	// Met is how many requests it was for.
	Met int64 `json:"met"`
}

// Control does something with requests that come, before the debuggee gets them. Its methods do not block.
type Control interface {
	// Rules lists the session's, in the order in which they are asked.
	Rules() []Rule
	// SetRules replaces all, by a list as "incoming.rules" has it, and AddRule puts one before the others. The error says what is
	// wrong with them; then nothing has changed.
	SetRules(text []byte) error
	AddRule(text []byte) error
	// Release lets a held request go on.
	Release(id uint64, r Release) error
}

// Control is the session's.
func (l *Log) Control() Control {
	if l.opts.Control == nil {
		return noControl{}
	}
	return l.opts.Control
}

// noControl is that of a session without requests of its own.
type noControl struct{}

func (noControl) Rules() []Rule                 { return []Rule{} }
func (noControl) SetRules([]byte) error         { return ErrNoControl }
func (noControl) AddRule([]byte) error          { return ErrNoControl }
func (noControl) Release(uint64, Release) error { return ErrNoControl }
