package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

// faultJSON is a fault as -o json prints it.
type faultJSON struct {
	ID       fault.ID        `json:"id"`
	What     string          `json:"what"`
	Cause    string          `json:"cause,omitempty"`
	Hint     string          `json:"hint,omitempty"`
	Problems config.Problems `json:"problems,omitempty"`
}

// printFault shows a fault on standard error: what happened, every problem on a line of its own, then the advice
// unless it is to list the problems.
func (p *podstep) printFault(f *fault.Fault) {
	var problems config.Problems
	listed := errors.As(f.Err, &problems)
	if p.output == "json" {
		j := faultJSON{ID: f.ID, What: f.What, Hint: f.Advice(), Problems: problems}
		if f.Err != nil && !listed {
			j.Cause = f.Err.Error()
		}
		_ = p.printJSON(p.errs, j) // nobody is left to tell
		return
	}
	var b strings.Builder
	if listed {
		fmt.Fprintf(&b, "podstep: %s [podstep-%d]\n", f.What, f.ID)
		for _, problem := range problems {
			fmt.Fprintf(&b, "  %s\n", problem)
		}
	} else {
		fmt.Fprintf(&b, "podstep: %s [podstep-%d]\n", f.Summary(), f.ID)
	}
	if hint := f.Advice(); hint != "" && (f.Hint != "" || !listed) {
		fmt.Fprintf(&b, "%s\n", hint)
	}
	_, _ = p.errs.Write([]byte(b.String()))
}

// printJSON writes v for a program to read.
func (p *podstep) printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fault.New(fault.Internal, "cannot write the result", err)
	}
	return nil
}

// printJSONLine writes v on one line, for a program that reads on.
func (p *podstep) printJSONLine(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fault.New(fault.Internal, "cannot write the result", err)
	}
	return nil
}
