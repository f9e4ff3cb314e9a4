package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration, and where.
type Problem struct {
	// Line and Column count from 1; columns are characters.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Path leads to the value: "mirror.incoming.ports.80". Empty for the file as a whole.
	Path string `json:"path,omitempty"`
	// Text says what is wrong and what would be right.
	Text string `json:"text"`
}

// String is "12:7: incoming.mode: TEXT".
func (p Problem) String() string {
	return fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.withoutPosition())
}

func (p Problem) withoutPosition() string {
	if p.Path == "" {
		return p.Text
	}
	return p.Path + ": " + p.Text
}

// Problems is everything that is wrong with a configuration, in the order of the file. It is the cause of Parse's fault.
type Problems []Problem

// Error lists all problems on one line. A text of one line came over a wire, and its positions would tell a person nothing:
// they are left out then.
func (ps Problems) Error() string {
	oneLine := !slices.ContainsFunc(ps, func(p Problem) bool { return p.Line > 1 })
	all := make([]string, len(ps))
	for i, p := range ps {
		if all[i] = p.String(); oneLine {
			all[i] = p.withoutPosition()
		}
	}
	return strings.Join(all, "; ")
}
