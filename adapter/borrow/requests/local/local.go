// Package local is a session's door on this machine: programs of the same user ask there for the session's requests. It is HTTP over a unix
// socket in the session's directory, which only that user can enter; the kernel says who connects, too.
package local

import (
	"errors"
	"time"

	"podstep.dev/adapter/borrow/requests"
)

// Session says whose requests these are.
type Session struct {
	// ID is the name of the session's directory.
	ID string `json:"id"`
	// Target is as the person named it: "deployment/web".
	Target string `json:"target"`
	// Mode is "steal", "mirror" or "off".
	Mode string `json:"mode"`
	// PID is the process that serves.
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
}

// Change is what a follower is told.
type Change struct {
	// Requests that came or changed.
	Requests []requests.Summary `json:"requests"`
	// Lost are those that left the log before they could be told.
	Lost int `json:"lost,omitempty"`
}

// ErrGone says that the session is over.
var ErrGone = errors.New("the session is over")

// Problem is why the session did not do what it was asked.
type Problem struct {
	// Status is HTTP's: 404 for an unknown request.
	Status int    `json:"-"`
	Text   string `json:"error"`
}

func (p *Problem) Error() string { return p.Text }

const (
	socketName = "requests.sock"
	// newName is the socket's until it is served: whoever finds one under its own name that nobody serves, may remove it.
	newName = "requests.new"
	// maxEdited bounds a request that a person sends, in bytes.
	maxEdited = 4 << 20
	// followEvery is how often a follower is told of changes at most.
	followEvery = 50 * time.Millisecond
)
