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
	m, problems := parseBlock(raw, rules())
	return m, asFault(problems)
}

// ParseFor is Parse for a target chosen elsewhere, on the command line: it replaces the block's, which may be missing.
func ParseFor(target Target, raw []byte) (Mirror, error) {
	m, problems := parseBlock(raw, rules())
	problems = slices.DeleteFunc(problems, func(p Problem) bool { return p.Path == "target" })
	m.Target = target.String()
	return m, asFault(problems)
}

// parseBlock reads a file that is one block.
func parseBlock(raw []byte, rules map[string]rule) (Mirror, Problems) {
	root, r := open(raw, rules)
	if len(r.problems) > 0 {
		return Mirror{}, r.problems
	}
	m := r.block(root, "")
	return m, r.sorted()
}

// block reads a value that is a block at path, where the block's own paths begin.
func (r *reader) block(v hujson.Value, path string) Mirror {
	m := Default()
	r.into(v, path, "", reflect.ValueOf(&m).Elem())
	if _, isObject := v.Value.(*hujson.Object); isObject && !r.seen[join(path, "target")] {
		r.add(v.StartOffset, join(path, "target"), `missing; want "process/PID", for example "process/4242"`)
	}
	return m
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
