package adapter

import (
	"bytes"
	"encoding/json"

	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
)

// ours are the capabilities that podstep gives every debugger.
func ours() []string {
	return []string{"supportsCancelRequest", "supportsRestartRequest", "supportsTerminateRequest"}
}

// withOurs sets them.
func withOurs(a debugger.Attributes) debugger.Attributes {
	for _, name := range ours() {
		a = a.With(name, json.RawMessage("true"))
	}
	return a
}

// capabilities is what initialize answers: those recorded of the debugger, or, when it is not known yet, those that every debugger has. An
// editor that never hears of more misses something; one that was promised too much fails.
func capabilities(known debugger.Debugger) debugger.Attributes {
	if known != nil {
		return withOurs(recorded(known))
	}
	all := debugger.Known()
	common := recorded(all[0])
	for _, d := range all[1:] {
		has := recorded(d)
		common = common.Without(func(name string) bool { return string(has.Value(name)) != "true" || !common.True(name) })
	}
	return withOurs(common)
}

func recorded(d debugger.Debugger) debugger.Attributes {
	a, err := debugger.ParseAttributes(d.Capabilities())
	if err != nil {
		panic("the recorded capabilities of " + d.Name() + " are no object") // they are part of the program and tested
	}
	return a
}

// learned takes the debugger's own answer to initialize and tells the editor in what it differs from what it was told.
func (s *session) learned(body json.RawMessage) {
	real, err := debugger.ParseAttributes(body)
	if err != nil {
		real = nil // no body: no capabilities
	}
	s.real = real
	promised := withOurs(real)
	var changed debugger.Attributes
	for _, c := range promised {
		if !same(s.told.Value(c.Name), c.Value) {
			changed = append(changed, c)
		}
	}
	for _, t := range s.told {
		if promised.Value(t.Name) == nil {
			changed = append(changed, debugger.Attribute{Name: t.Name, Value: none(t.Value)})
		}
	}
	s.told = promised
	if len(changed) > 0 {
		s.tell(dap.Capabilities(changed.Raw()))
	}
}

// none is the value that takes a capability back.
func none(was json.RawMessage) json.RawMessage {
	if len(was) > 0 && was[0] == '[' {
		return json.RawMessage("[]")
	}
	return json.RawMessage("false")
}

// same compares two values regardless of their spacing.
func same(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	return a != nil && b != nil && json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// keepOurs returns an object of capabilities in which none of ours is taken back, and whether that changed it.
func keepOurs(raw json.RawMessage) (json.RawMessage, bool) {
	a, err := debugger.ParseAttributes(raw)
	if err != nil {
		return raw, false
	}
	changed := false
	for _, name := range ours() {
		if a.Value(name) != nil && !a.True(name) {
			a, changed = a.With(name, json.RawMessage("true")), true
		}
	}
	return a.Raw(), changed
}

// keepOursIn patches a message whose body is an object of capabilities, or has one as "capabilities".
func keepOursIn(m dap.Message) dap.Message {
	body := m.Field("body")
	if body == nil {
		return m
	}
	if m.Type == dap.Event {
		a, err := debugger.ParseAttributes(body)
		if err != nil {
			return m
		}
		inner, changed := keepOurs(a.Value("capabilities"))
		if !changed {
			return m
		}
		body = a.With("capabilities", inner).Raw()
	} else {
		var changed bool
		if body, changed = keepOurs(body); !changed {
			return m
		}
	}
	patched, err := dap.Parse(m.With(dap.Field{Name: "body", Value: body}))
	if err != nil {
		return m
	}
	return patched
}
