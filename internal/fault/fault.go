// Package fault is an error as a person sees it: what happened, what to do next, and a stable id to look up.
// Everything else in podstep is a plain error; whoever meets the person turns it into a Fault once.
package fault

import (
	"errors"
	"fmt"
)

// Fault is shown to a person. It is an error and wraps its cause.
type Fault struct {
	// ID is stable over releases and listed in docs/errors.md.
	ID ID
	// What happened, as a sentence without a full stop, naming the thing.
	What string
	// Hint says what to do next. If empty, the catalogue's hint for the ID is shown.
	Hint string
	// Err is the cause. May be nil.
	Err error
}

// Error is the whole text for a person, on one or two lines.
func (f *Fault) Error() string {
	s := fmt.Sprintf("%s [podstep-%d]", f.Summary(), f.ID)
	if h := f.Advice(); h != "" {
		s += "\n" + h
	}
	return s
}

// Summary is what happened with its cause, on one line.
func (f *Fault) Summary() string {
	if f.Err != nil {
		return f.What + ": " + f.Err.Error()
	}
	return f.What
}

// Advice is the hint to show: the fault's own, else the catalogue's.
func (f *Fault) Advice() string {
	if f.Hint != "" {
		return f.Hint
	}
	return catalogue[f.ID].Hint
}

func (f *Fault) Unwrap() error { return f.Err }

// New makes a fault with the catalogue's hint.
func New(id ID, what string, err error) *Fault {
	return &Fault{ID: id, What: what, Err: err}
}

// Or keeps the fault in err's chain, or makes one of the kind id that wraps err.
func Or(err error, id ID, what string) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return New(id, what, err)
}

// As returns the fault in err's chain, or wraps err as Internal.
func As(err error) *Fault { return Or(err, Internal, "unexpected error") }
