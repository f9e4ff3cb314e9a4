package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Values of "action".
const (
	RuleBreak = "break"
	RuleFail  = "fail"
	RuleDelay = "delay"
)

const (
	// maxDelay is what a client, and its place in the pod, may be made to wait.
	maxDelay = time.Minute
	// maxRules bounds a session's list.
	maxRules = 100
	// maxReply is how long a body of podstep's own may be, in bytes.
	maxReply = 64 << 10
	// failStatus is the default of "status".
	failStatus = 503
)

// Rule says what is done with requests before the debuggee gets them.
type Rule struct {
	// Which requests it is about, of those that the session gets. Without it, all.
	Filter Only `json:"filter,omitzero"`
	// The target's ports that it is about. Without it, all.
	Ports []uint16 `json:"ports,omitempty"`
	// `break` holds the request until somebody releases it: to the debuggee, to the target, or to fail (see docs/requests.md); nobody
	// does within `incoming.hold.seconds`, then the target has it. `fail` answers it with `status`. `delay` has it wait before it
	// goes on.
	Action string `json:"action" jsonschema:"required,enum=break,enum=fail,enum=delay"`
	// What `fail` answers: 503 without it.
	Status int `json:"status,omitempty" jsonschema:"minimum=400,maximum=599"`
	// The body of that answer, text or JSON. Without it, it says who answered.
	Body string `json:"body,omitempty"`
	// How long `delay` takes, at most a minute: `2s`, `250ms`.
	Delay string `json:"delay,omitempty" jsonschema:"example=2s,example=250ms"`
	// For how many requests, the first ones. Without it, for all.
	Times int `json:"times,omitempty" jsonschema:"minimum=1,maximum=65535"`
}

// Wait is Delay's duration.
func (r Rule) Wait() time.Duration {
	d, err := time.ParseDuration(r.Delay)
	if err != nil {
		return 0
	}
	return d
}

// Answer is the status of "fail".
func (r Rule) Answer() int {
	if r.Status == 0 {
		return failStatus
	}
	return r.Status
}

// String says the rule on one line, for people: break on requests with path = "/pay", the first 3.
func (r Rule) String() string {
	var b strings.Builder
	switch r.Action {
	case RuleBreak:
		b.WriteString("break on")
	case RuleFail:
		fmt.Fprintf(&b, "fail with %d:", r.Answer())
	case RuleDelay:
		fmt.Fprintf(&b, "delay by %s:", r.Delay)
	}
	if r.Filter.IsZero() {
		b.WriteString(" every request")
	} else {
		fmt.Fprintf(&b, " requests with %s", r.Filter)
	}
	if len(r.Ports) > 0 {
		ports := make([]string, len(r.Ports))
		for i, p := range r.Ports {
			ports[i] = fmt.Sprint(p)
		}
		fmt.Fprintf(&b, ", to port %s", strings.Join(ports, ", "))
	}
	switch r.Times {
	case 0:
	case 1:
		b.WriteString(", the first one")
	default:
		fmt.Fprintf(&b, ", the first %d", r.Times)
	}
	return b.String()
}

// ParseRules reads a list of rules, as "incoming.rules" has it. The error is a *fault.Fault (BadConfig) that lists everything that is wrong.
func ParseRules(text []byte) ([]Rule, error) {
	var list []Rule
	err := parseRules(text, &list, "incoming.rules", func(r *reader) { r.fitRules(list, "", nil) })
	return list, err
}

// ParseRule reads one rule, like ParseRules.
func ParseRule(text []byte) (Rule, error) {
	var one Rule
	err := parseRules(text, &one, "incoming.rules[]", func(r *reader) { r.fitRule(one, "", nil) })
	return one, err
}

func parseRules(text []byte, dst any, shape string, fit func(*reader)) error {
	root, r := open(text)
	if len(r.problems) == 0 {
		r.into(root, "", shape, reflect.ValueOf(dst).Elem())
		fit(r)
	}
	if len(r.problems) == 0 {
		return nil
	}
	return wrongRules(r.sorted())
}

// fitRules checks what of each rule depends on something else. ports are the session's, nil for any.
func (r *reader) fitRules(list []Rule, path string, ports map[uint16]uint16) {
	if len(list) > maxRules {
		r.add(r.seen[path], path, fmt.Sprintf("want at most %d rules, got %d", maxRules, len(list)))
		return
	}
	for i, rule := range list {
		r.fitRule(rule, fmt.Sprintf("%s[%d]", path, i), ports)
	}
}

func (r *reader) fitRule(rule Rule, path string, ports map[uint16]uint16) {
	for key, action := range map[string]string{"status": RuleFail, "body": RuleFail, "delay": RuleDelay} {
		at := join(path, key)
		if offset, given := r.seen[at]; given && rule.Action != "" && rule.Action != action {
			r.add(offset, at, fmt.Sprintf("is for %q %q; this one is %q", "action", action, rule.Action))
		}
	}
	if slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Path == path }) {
		return // it is no object
	}
	offset := r.seen[path]
	_, acts := r.seen[join(path, "action")]
	switch _, waits := r.seen[join(path, "delay")]; {
	case !acts:
		r.add(offset, join(path, "action"), "missing; known are break, fail, delay")
	case rule.Action == RuleDelay && !waits:
		r.add(offset, join(path, "delay"), `missing; want how long, for example "2s"`)
	}
	for i, port := range rule.Ports {
		at := fmt.Sprintf("%s[%d]", join(path, "ports"), i)
		if _, known := ports[port]; ports != nil && port != 0 && !known {
			r.add(r.seen[at], at, fmt.Sprintf("port %d is none of %q", port, "incoming.ports"))
		}
	}
}

func checkStatus(s string) error {
	if n, err := strconv.Atoi(s); err != nil || n < 400 || n > 599 {
		return fmt.Errorf("want the status of a failure, from 400 to 599, got %s", shorten(s))
	}
	return nil
}

func checkDelay(s string) error {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return fmt.Errorf(`want a duration, for example "2s" or "250ms", got %q`, shorten(s))
	case d <= 0 || d > maxDelay:
		return fmt.Errorf("want a duration of more than 0 and at most %v, got %s", maxDelay, shorten(s))
	}
	return nil
}

func checkBody(s string) error {
	if len(s) > maxReply {
		return fmt.Errorf("want at most %d bytes, got %d", maxReply, len(s))
	}
	return nil
}

// NamedRules are the rules of one block.
type NamedRules struct {
	// Name leads to the configuration, see NamedFilter.
	Name  string
	Rules []Rule
}

// keepRules keeps the rules of a block for the report, unless one is wrong.
func (r *reader) keepRules(name string, m Mirror) {
	wrong := slices.ContainsFunc(r.problems, func(p Problem) bool { return strings.Contains(p.Path, "incoming.rules") })
	if len(m.Incoming.Rules) > 0 && !wrong {
		r.ruled = append(r.ruled, NamedRules{name, m.Incoming.Rules})
	}
}
