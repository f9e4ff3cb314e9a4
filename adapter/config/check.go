package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// Type is the type of a launch configuration that is podstep's own; others are the user's with a "mirror" block added.
const Type = "podstep"

// Debuggers lists the values of "debugger".
func Debuggers() []string { return []string{"dlv", "debugpy"} }

// Report is what Check found.
type Report struct {
	// Blocks counts the "mirror" blocks that were looked at, and the podstep configurations that lack one.
	Blocks int `json:"blocks"`
	// Problems is never nil, so that JSON has a list.
	Problems Problems `json:"problems"`
	// Filters are those of the blocks that have one, without those that are wrong.
	Filters []NamedFilter `json:"-"`
	// Rules are those of the blocks that have some.
	Rules []NamedRules `json:"-"`
}

// NamedFilter is the filter of one block.
type NamedFilter struct {
	// Name leads to the configuration that has the block: its own name, quoted, or configurations[1]. Empty if the file is no more than it.
	Name   string
	Filter Filter
}

// Check reads a launch.json (every configuration that has a "mirror" block or is of type podstep), a file that is one
// configuration, or one that is one block. A string with an editor's variable in it, such as "${command:podstep.pickTarget}", is not looked into.
func Check(file []byte) Report {
	root, r := open(file)
	r.raw = true
	report := Report{Problems: Problems{}}
	if len(r.problems) > 0 {
		report.Problems = r.problems
		return report
	}
	if list, ok := member(root, "configurations"); ok {
		report.Blocks = r.launchFile(list.Value)
	} else if isLaunch(root) {
		if r.launch(root, "") {
			report.Blocks = 1
		}
	} else {
		r.filter("", r.block(root, "", ""))
		report.Blocks = 1
	}
	report.Filters, report.Rules = r.filters, r.ruled
	report.Problems = append(report.Problems, r.sorted()...)
	return report
}

// isLaunch tells a launch configuration from a block by keys that only the former has.
func isLaunch(v hujson.Value) bool {
	return slices.ContainsFunc([]string{"mirror", "type", "request"}, func(key string) bool {
		_, has := member(v, key)
		return has
	})
}

// launchFile checks each configuration of a launch.json and counts those that concern podstep.
func (r *reader) launchFile(list hujson.Value) (blocks int) {
	array, ok := list.Value.(*hujson.Array)
	if !ok {
		r.wrong(list, "configurations", "a list")
		return 0
	}
	for i, c := range array.Elements {
		if _, ok := c.Value.(*hujson.Object); !ok {
			r.wrong(c, fmt.Sprintf("configurations[%d]", i), "an object")
			continue
		}
		if r.launch(c, launchName(c, i)) {
			blocks++
		}
	}
	return blocks
}

// launch checks one configuration and tells whether it concerns podstep.
func (r *reader) launch(c hujson.Value, path string) bool {
	kind, _ := member(c, "type")
	own := literal(kind.Value) == Type
	block, has := member(c, "mirror")
	switch {
	case has:
		r.filter(path, r.block(block.Value, join(path, "mirror"), ""))
	case r.misspelt(c, path):
		return true
	case own:
		r.add(c.StartOffset, join(path, "mirror"), `missing; a configuration of type podstep needs a "mirror" block with a "target"`)
	default:
		return false
	}
	r.request(c, path)
	if own {
		r.debugger(c, path)
	}
	return true
}

// filter keeps the filter and the rules of a block for the report.
func (r *reader) filter(path string, m Mirror) {
	if !m.Incoming.Filter.IsZero() {
		r.filters = append(r.filters, NamedFilter{path, m.Incoming.Filter})
	}
	r.keepRules(path, m)
}

// misspelt reports a key that was probably meant to be "mirror".
func (r *reader) misspelt(c hujson.Value, path string) bool {
	for _, m := range c.Value.(*hujson.Object).Members {
		name := literal(m.Name)
		if _, isObject := m.Value.Value.(*hujson.Object); isObject && nearest(name, []string{"mirror"}) != "" {
			r.add(m.Name.StartOffset, join(path, name), `unknown key; did you mean "mirror"?`)
			return true
		}
	}
	return false
}

func (r *reader) request(c hujson.Value, path string) {
	m, ok := member(c, "request")
	if s := literal(m.Value); ok && s != "launch" && !r.later(s) {
		r.add(m.Value.StartOffset, join(path, "request"), `want "launch"; podstep starts the debuggee itself, so that it runs in the target's surroundings`)
	}
}

func (r *reader) debugger(c hujson.Value, path string) {
	m, ok := member(c, "debugger")
	path = join(path, "debugger")
	if !ok {
		r.add(c.StartOffset, path, "missing; known are "+strings.Join(Debuggers(), ", "))
		return
	}
	if r.want(m.Value, path, "a string", '"') {
		s := literal(m.Value)
		if err := oneOf(Debuggers()...)(s); err != nil && !r.later(s) {
			r.add(m.Value.StartOffset, path, err.Error())
		}
	}
}

// launchName is the path of a configuration: its name when it has one, else its place.
func launchName(c hujson.Value, i int) string {
	if m, ok := member(c, "name"); ok && m.Value.Value.Kind() == '"' {
		return fmt.Sprintf("%q", literal(m.Value))
	}
	return fmt.Sprintf("configurations[%d]", i)
}

// member finds a key of an object. The last of equal ones counts, as in an editor.
func member(v hujson.Value, name string) (hujson.ObjectMember, bool) {
	object, ok := v.Value.(*hujson.Object)
	if !ok {
		return hujson.ObjectMember{}, false
	}
	for _, m := range slices.Backward(object.Members) {
		if literal(m.Name) == name {
			return m, true
		}
	}
	return hujson.ObjectMember{}, false
}

// literal is the text of a string or other literal, and "" for anything else.
func literal(v hujson.Value) string {
	if l, ok := v.Value.(hujson.Literal); ok {
		return l.String()
	}
	return ""
}
