// Package filter says which HTTP requests a session wants: a tree of conditions on a request's head, and on its body where that is
// JSON. It reads and writes the filter's JSON form, says it in words, matches requests, and proves of two filters that no request
// matches both, so that two sessions can share a port. It does no I/O and parses no HTTP. docs/configuration.md describes the
// form.
//
// A request that servers could read in different ways belongs to nobody: a header that comes twice with different values, a path
// with ".." in it, a JSON object with a key given twice. A condition that looks at such a thing is not met, and neither is its
// opposite, so that a request can never be in one session by its first value and in another by its second.
package filter

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Bounds of a filter. An agent keeps filters of several sessions in the pod's memory, and runs them on every request.
const (
	// MaxSize is in bytes of JSON.
	MaxSize = 16 << 10
	// MaxConditions counts all, "all", "any" and "not" included.
	MaxConditions = 64
	// MaxDepth is how deep "all", "any" and "not" nest.
	MaxDepth = 8
	// MaxBody is how many bytes of a body a "json" condition looks at. A longer body meets no such condition.
	MaxBody = 64 << 10
)

// Filter is a filter that was read by Parse or made by Mine. It never changes. The zero value wants every request.
type Filter struct{ root *group }

// Mine is the filter of a session that has a key of its own: requests with the baggage member podstep=KEY. It panics if key is none (see
// IsKey): keys are minted, not typed.
func Mine(key string) Filter {
	if !IsKey(key) {
		panic(fmt.Sprintf("filter: %q cannot be a key", key))
	}
	c := &compare{kind: kindBaggage, name: "podstep", pattern: pattern{op: opExact, text: key}}
	return Filter{&group{op: opObject, members: []condition{c}}}
}

// IsKey tells whether a session's key is 1 to 64 letters (a to z, A to Z) and digits: it is the same in a header, in a shell and in a URL.
func IsKey(key string) bool {
	for i := range len(key) {
		if !isAlphanumeric(key[i]) {
			return false
		}
	}
	return len(key) >= 1 && len(key) <= 64
}

// IsZero tells whether f is no filter: it wants every request.
func (f Filter) IsZero() bool { return f.root == nil }

// Equal tells whether f and other have the same conditions, in whatever order they were written.
func (f Filter) Equal(other Filter) bool {
	a, errA := f.MarshalJSON()
	b, errB := other.MarshalJSON()
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// MarshalJSON writes what Parse reads, in a form that is the same for equal filters; null for the zero value.
func (f Filter) MarshalJSON() ([]byte, error) {
	if f.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(f.root.object())
}

// UnmarshalJSON is Parse; null is the zero value.
func (f *Filter) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*f = Filter{}
		return nil
	}
	parsed, err := Parse(text)
	if err == nil {
		*f = parsed
	}
	return err
}

// String says the filter on one line, for people: header x-user = "alice" and path /api/**.
func (f Filter) String() string {
	if f.IsZero() {
		return "every request"
	}
	return f.root.String()
}
