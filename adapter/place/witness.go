package place

import (
	"fmt"
	"time"

	"podstep.dev/internal/fault"
)

// Witness is a Place that keeps a record of what became of it, for its owners.
type Witness interface {
	// Held : the session has the place, with all the traffic that it asked for. It may be told more than once.
	Held()
	// Refused : the session did not get what it asked for, and why.
	Refused(why error)
	// Yielded : the session gave ports back and goes on.
	Yielded(ports []uint16, why string)
}

// Revocable is a Target whose owners can take the right to steal its traffic away from a session.
type Revocable interface {
	// Revoked sends each time that they do. The channel is never closed before Places' is.
	Revoked() <-chan Revocation
}

// Revocation takes the right to steal away.
type Revocation struct {
	// By is who does, by their own word, Reason why; both may be empty.
	By, Reason string
	// Until is how long nobody else may steal, or the session again; zero if that was not said.
	Until time.Time
	// Where is what it stands at: "pod/web-0".
	Where string
}

// String is "bob@ops revoked stealing (load test)".
func (r Revocation) String() string {
	who := r.By
	if who == "" {
		who = "an administrator"
	}
	words := who + " revoked stealing"
	if !r.Until.IsZero() {
		words += " until " + r.Until.Local().Format("15:04:05 on 2 January")
	}
	if r.Reason != "" {
		words += fmt.Sprintf(" (%s)", r.Reason)
	}
	return words
}

// Fault says so to a person whose session it ends or keeps from beginning.
func (r Revocation) Fault(target string) *fault.Fault {
	return fault.New(fault.StealRevoked, fmt.Sprintf("the requests of %s may not be stolen: %s", target, r), nil)
}
