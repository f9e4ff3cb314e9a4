package filter

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// op says how a pattern is compared.
type op uint8

const (
	opExact op = iota
	opPrefix
	opRegex
	opGlob
	opPresent
	opAbsent
	// opOneOf is a list of exact values: methods.
	opOneOf
)

// maxSearched is the longest value in bytes that a regular expression is run on, since what a client sends must not cost the pod more than
// some milliseconds. A longer value is ambiguous.
const maxSearched = 4 << 10

// pattern is what a value is compared with.
type pattern struct {
	op   op
	text string
	list []string // of opOneOf
	// head is what everything begins with that a glob matches; literal is the same of an expression.
	head, literal string
	// re is of opRegex, and of opGlob unless its only wildcard is "**" at the end.
	re *regexp.Regexp
}

// test holds a value that was found, or not, to the pattern.
func (p *pattern) test(value string, f found) verdict {
	switch {
	case f == notRead:
		return unread
	case f == unclear:
		return odd
	case p.op == opPresent && f != absent, p.op == opAbsent && f == absent:
		return yes
	case f == absent, f == structured, p.op == opAbsent:
		return no
	case f == ambiguous:
		return odd
	}
	return p.compare(value)
}

func (p *pattern) compare(value string) verdict {
	switch p.op {
	case opExact:
		return verdictOf(value == p.text)
	case opPrefix:
		return verdictOf(strings.HasPrefix(value, p.text))
	case opOneOf:
		return verdictOf(slices.Contains(p.list, value))
	}
	switch {
	case !strings.HasPrefix(value, p.head):
		return no
	case p.re == nil:
		return yes
	case len(value) > maxSearched:
		return odd
	}
	return verdictOf(p.re.MatchString(value))
}

func verdictOf(is bool) verdict {
	if is {
		return yes
	}
	return no
}

// value is the pattern's JSON form.
func (p *pattern) value(k kind) any {
	switch p.op {
	case opExact:
		return p.text
	case opPrefix:
		return map[string]any{"prefix": p.text}
	case opRegex:
		return map[string]any{"regex": p.text}
	case opGlob:
		return map[string]any{"glob": p.text}
	case opOneOf:
		if len(p.list) == 1 {
			return p.list[0]
		}
		return p.list
	}
	return map[string]any{"present": p.op == opPresent}
}

// String is what stands behind the name of the value: = "alice".
func (p *pattern) String() string {
	switch p.op {
	case opPrefix:
		return "begins with " + strconv.Quote(p.text)
	case opRegex:
		return "matches " + strconv.Quote(p.text)
	case opGlob:
		return printable(p.text)
	}
	return "= " + strconv.Quote(p.text)
}

// printable is s as it is if that can stand in a line, else quoted.
func printable(s string) string {
	if s == "" || strings.ContainsFunc(s, func(c rune) bool { return c == ' ' || c == '"' || !strconv.IsPrint(c) }) {
		return strconv.Quote(s)
	}
	return s
}
