package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/config"
)

func TestCheckReadsALaunchFile(t *testing.T) {
	tests := map[string]struct {
		file   string
		blocks int
		want   []string
	}{
		"good": {`{"configurations": [
			{"name": "a", "type": "podstep", "request": "launch", "debugger": "dlv", "mirror": {"target": "process/1"}},
			{"name": "b", "type": "debugpy", "mirror": {"target": "process/1"}},
			{"name": "c", "type": "go"},
		]}`, 2, nil},
		"none concerned": {`{"version": "0.2.0", "configurations": [{"type": "go", "mode": "auto"}]}`, 0, nil},
		"bare block":     {`{"target": "process/1"}`, 1, nil},
		"bad block":      {`{"target": "process/1", "dns": 1}`, 1, []string{`1:32: dns: want true or false, got the number 1`}},
		"no mirror":      {`{"configurations": [{"type": "podstep", "debugger": "dlv"}]}`, 1, []string{`1:21: configurations[0].mirror: missing; a configuration of type podstep needs a "mirror" block with a "target"`}},
		"misspelt mirror": {`{"configurations": [{"type": "go", "miror": {}}]}`, 1,
			[]string{`1:36: configurations[0].miror: unknown key; did you mean "mirror"?`}},
		"named": {`{"configurations": [{"name": "My shop", "type": "go", "mirror": {}}]}`, 1,
			[]string{`1:65: "My shop".mirror.target: missing; want KIND/NAME, for example deployment/web, or process/PID`}},
		"bad values": {`{"configurations": [{"type": "go", "mirror": {"target": "1", "incoming": {"mode": "stael"}}}]}`, 1, []string{
			`1:57: configurations[0].mirror.target: target "1" has no kind; did you mean process/1?`,
			`1:83: configurations[0].mirror.incoming.mode: unknown value "stael"; did you mean "steal"?`,
		}},
		"no debugger":  {`{"configurations": [{"type": "podstep", "mirror": {"target": "process/1"}}]}`, 1, []string{`1:21: configurations[0].debugger: missing; known are dlv, debugpy`}},
		"bad debugger": {`{"configurations": [{"type": "podstep", "debugger": "delve", "mirror": {"target": "process/1"}}]}`, 1, []string{`1:53: configurations[0].debugger: unknown value "delve"; did you mean "dlv"?`}},
		"attach": {`{"configurations": [{"type": "go", "request": "attach", "mirror": {"target": "process/1"}}]}`, 1,
			[]string{`1:47: configurations[0].request: want "launch"; podstep starts the debuggee itself, so that it runs in the target's surroundings`}},
		"editor's variables":        {`{"configurations": [{"type": "podstep", "debugger": "${config:x}", "mirror": {"target": "${command:askTarget}", "outgoing": {"local": ["${input:db}:5432"]}}}]}`, 1, nil},
		"bare configuration":        {`{"type": "podstep", "debugger": "dlv", "mirror": {"target": "deployment/web", "dns": 1}}`, 1, []string{`1:86: mirror.dns: want true or false, got the number 1`}},
		"bare, of another debugger": {`{"type": "go", "request": "launch", "mirror": {"target": "process/1"}}`, 1, nil},
		"bare, without a block":     {`{"type": "podstep", "debugger": "dlv"}`, 1, []string{`1:1: mirror: missing; a configuration of type podstep needs a "mirror" block with a "target"`}},
		"bare, without podstep":     {`{"type": "go", "request": "launch"}`, 0, nil},
		"variables of a cluster":    {`{"target": "${command:askTarget}", "namespace": "${input:ns}", "agent": {"image": "${input:image}"}}`, 1, nil},
		"bare variables":            {`{"target": "${command:askTarget}"}`, 1, nil},
		"no list":                   {`{"configurations": {}}`, 0, []string{`1:20: configurations: want a list, got an object`}},
		"no configuration":          {`{"configurations": [1]}`, 0, []string{`1:21: configurations[0]: want an object, got the number 1`}},
		"syntax":                    {"{\n  \"configurations\": [\n", 0, []string{`3:1: not JSON: parsing value: unexpected EOF`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			report := config.Check([]byte(tt.file))
			var got []string
			for _, p := range report.Problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || report.Blocks != tt.blocks {
				t.Errorf("Check looked at %d blocks, want %d (-want +got):\n%s", report.Blocks, tt.blocks, diff)
			}
		})
	}
}

func TestCheckSurvivesHugeFiles(t *testing.T) {
	for name, file := range map[string]string{
		"too long": strings.Repeat(" ", 4<<20),
		"too deep": strings.Repeat("[", 1<<20),
		"deep":     strings.Repeat("[", 1000),
		"too bad":  `{"env": {"include": [` + strings.Repeat("1,", 100_000) + `]}}`,
	} {
		if n := len(config.Check([]byte(file)).Problems); n < 1 || n > 100 {
			t.Errorf("%s: %d problems, want 1 to 100", name, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{}`, `{"target": "process/1", "incoming": {"mode": "steal", "ports": {"80": 8080}}, "outgoing": {"local": ["[::1]:80"]}, "env": {"include": ["A*"], "override": {"A": "b"}}}`,
		`{"configurations": [{"type": "podstep", "debugger": "dlv", "mirror": {}}]} // x`, "{\"a\xff\": \"\\ud800\"}", `[[[[`, `{"target"`, "\ufeff{}", `{"incoming": {"ports": {"1e2": 1e2}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := config.Parse(text)
		if err == nil {
			if _, err := config.ParseTarget(m.Target); err != nil {
				t.Errorf("Parse accepted the target %q: %v", m.Target, err)
			}
			m.Env.Select([]string{"A=b", "PATH=/"})
		}
		for _, p := range config.Check(text).Problems {
			if p.Line < 1 || p.Column < 1 || p.Text == "" {
				t.Errorf("problem without a place or a text: %+v", p)
			}
		}
	})
}
