package debugger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"podstep.dev/internal/fault"
)

// Attribute is one member of a launch configuration, its value as it was written.
type Attribute struct {
	Name  string
	Value json.RawMessage
}

// Attributes are a JSON object in its own order. What is not touched stays as it was written.
type Attributes []Attribute

// ParseAttributes reads a JSON object.
func ParseAttributes(raw json.RawMessage) (Attributes, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("the launch configuration is no JSON object")
	}
	var a Attributes
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("read attribute: %w", err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("read attribute %q: %w", name, err)
		}
		a = append(a, Attribute{name.(string), value})
	}
	return a, nil
}

// Raw writes the object.
func (a Attributes) Raw() json.RawMessage {
	out := []byte{'{'}
	for i, at := range a {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, quote(at.Name)...), ':'), at.Value...)
	}
	return append(out, '}')
}

// Value returns the attribute's value, nil when there is none.
func (a Attributes) Value(name string) json.RawMessage {
	for i := len(a) - 1; i >= 0; i-- {
		if a[i].Name == name {
			return a[i].Value
		}
	}
	return nil
}

// Has reports whether there is an attribute called name that is not null.
func (a Attributes) Has(name string) bool {
	v := a.Value(name)
	return v != nil && string(v) != "null"
}

// Text returns the attribute as a string, "" when it is none.
func (a Attributes) Text(name string) string {
	var s string
	if v := a.Value(name); v == nil || json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// Texts returns the attribute as a list of strings; a single string is a list of one.
func (a Attributes) Texts(name string) []string {
	if s := a.Text(name); s != "" {
		return []string{s}
	}
	var list []string
	if v := a.Value(name); v == nil || json.Unmarshal(v, &list) != nil {
		return nil
	}
	return list
}

// True reports whether the attribute is true.
func (a Attributes) True(name string) bool { return string(a.Value(name)) == "true" }

// With returns a copy in which the attribute name has value: where it stood, else last.
func (a Attributes) With(name string, value any) Attributes {
	raw, ok := value.(json.RawMessage)
	if !ok {
		raw = quote(value)
	}
	out := slices.Clone(a)
	for i := range out {
		if out[i].Name == name {
			out[i].Value = raw
			return out
		}
	}
	return append(out, Attribute{name, raw})
}

// Without returns a copy without the attributes that drop chooses.
func (a Attributes) Without(drop func(name string) bool) Attributes {
	return slices.DeleteFunc(slices.Clone(a), func(at Attribute) bool { return drop(at.Name) })
}

// environment is the attribute "env": name to value, null to unset.
func (a Attributes) environment() (map[string]*string, error) {
	var env map[string]*string
	if !a.Has("env") {
		return nil, nil
	}
	if err := json.Unmarshal(a.Value("env"), &env); err != nil {
		return nil, fmt.Errorf(`"env" is no object of strings: %w`, err)
	}
	return env, nil
}

// check is environment for who needs only its error: a *fault.Fault.
func (a Attributes) check() error {
	if _, err := a.environment(); err != nil {
		return fault.New(fault.BadConfig, "the launch configuration is not valid", err)
	}
	return nil
}

// EnvNames are the variables that the attribute "env" sets or unsets.
func (a Attributes) EnvNames() []string {
	env, err := a.environment()
	if err != nil {
		return nil // Check refuses it
	}
	return slices.Sorted(maps.Keys(env))
}

// beneath returns a copy whose "env" has those of pod that the person did not set, nor unset.
func (a Attributes) beneath(pod map[string]string) Attributes {
	var env Attributes
	if a.Has("env") {
		var err error
		if env, err = ParseAttributes(a.Value("env")); err != nil {
			return a // Check has refused it, so this is not reached with what it accepted
		}
	}
	for _, name := range slices.Sorted(maps.Keys(pod)) {
		if env.Value(name) == nil {
			env = env.With(name, pod[name])
		}
	}
	if len(env) == 0 {
		return a
	}
	return a.With("env", env.Raw())
}

// quote encodes value without HTML escapes, so that what a person wrote looks the same in the debugger's own messages.
func quote(value any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		panic(fmt.Sprintf("an attribute of our own does not encode: %v", err)) // strings and lists of strings always do
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
