package config

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/tailscale/hujson"

	"podstep.dev/internal/fault"
)

// Parse reads one "mirror" block and fills in the defaults. Comments and trailing commas are allowed, as in launch.json.
// The error is a *fault.Fault (BadConfig) that lists everything that is wrong; its cause is Problems.
func Parse(raw []byte) (Mirror, error) {
	m, problems := parseBlock(raw, "")
	return m, asFault(problems)
}

// ParseFor is Parse for a target chosen elsewhere, on the command line: it replaces the block's, which may be missing.
func ParseFor(target Target, raw []byte) (Mirror, error) {
	m, problems := parseBlock(raw, target.String())
	return m, asFault(problems)
}

// parseBlock reads a file that is one block. A target that is not empty replaces the block's.
func parseBlock(raw []byte, target string) (Mirror, Problems) {
	root, r := open(raw)
	if len(r.problems) > 0 {
		return Mirror{}, r.problems
	}
	m := r.block(root, "", target)
	return m, r.sorted()
}

// block reads a value that is a block at path, where the block's own paths begin. A target that is not empty replaces the
// block's, and what is wrong with that one.
func (r *reader) block(v hujson.Value, path, target string) Mirror {
	m, at := Default(), join(path, "target")
	r.into(v, path, "", reflect.ValueOf(&m).Elem())
	_, given := r.seen[at]
	switch _, isObject := v.Value.(*hujson.Object); {
	case target != "":
		r.problems = slices.DeleteFunc(r.problems, func(p Problem) bool { return p.Path == at })
		m.Target = target
	case isObject && !given:
		r.add(v.StartOffset, at, "missing; want "+wantTarget)
	}
	r.fitFilter(m, path)
	r.fit(&m, path)
	r.fitMode(&m, path)
	r.fitTLS(m, path)
	r.fitRules(m.Incoming.Rules, join(path, "incoming.rules"), m.Incoming.Ports)
	return m
}

func wrongRules(problems Problems) error {
	return fault.New(fault.BadConfig, "the rules are not valid", problems)
}

func asFault(problems Problems) error {
	switch len(problems) {
	case 0:
		return nil
	case 1:
		return fault.New(fault.BadConfig, `the "mirror" block is not valid`, problems)
	}
	return fault.New(fault.BadConfig, fmt.Sprintf(`the "mirror" block has %d problems`, len(problems)), problems)
}
