package config_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/config"
)

func TestParseReadsRules(t *testing.T) {
	m, err := config.Parse([]byte(`{"target": "process/1", "incoming": {"mode": "steal", "ports": {"80": 8080, "81": 8081}, "existing": "reset", "probes": "debuggee",
		"probeFilter": {"path": "/alive"}, "rules": [
		{"filter": {"path": {"prefix": "/orders/"}}, "action": "break", "times": 1},
		{"action": "fail", "status": 500, "body": "{}", "ports": [80, 81]}, /* and */
		{"filter": {"method": "POST"}, "action": "fail"},
		{"action": "delay", "delay": "1m", "times": 3},
	]}}`))
	if err != nil {
		t.Fatal(err)
	}
	in := m.Incoming
	if in.Existing != config.ExistingReset || in.Probes != config.ProbesDebuggee || in.ProbeFilter.String() != `path = "/alive"` {
		t.Errorf("read %+v", in)
	}
	var words []string
	for _, r := range in.Rules {
		words = append(words, r.String())
	}
	want := []string{
		`break on requests with path begins with "/orders/", the first one`,
		`fail with 500: every request, to port 80, 81`,
		`fail with 503: requests with method POST`,
		`delay by 1m: every request, the first 3`,
	}
	if diff := cmp.Diff(want, words); diff != "" {
		t.Errorf("the rules (-want +got):\n%s", diff)
	}
	if r := in.Rules[3]; r.Wait() != time.Minute || in.Rules[1].Body != "{}" || in.Rules[2].Answer() != 503 {
		t.Errorf("read %+v", in.Rules)
	}
}

func TestParseReportsEachProblemOfARule(t *testing.T) {
	tests := map[string]struct{ rules, want string }{
		"no list":        {`{}`, `incoming.rules: want a list, got an object`},
		"no rule":        {`["break"]`, `incoming.rules[0]: want an object, got the string "break"`},
		"no action":      {`[{"times": 1}]`, `incoming.rules[0].action: missing; known are break, fail, delay`},
		"near action":    {`[{"action": "brake"}]`, `incoming.rules[0].action: unknown value "brake"; did you mean "break"?`},
		"key":            {`[{"action": "break", "path": "/"}]`, `incoming.rules[0].path: unknown key; known are filter, ports, action, status, body, delay, times`},
		"filter":         {`[{"action": "break", "filter": {"pth": "/a"}}]`, `incoming.rules[0].filter.pth: unknown key; did you mean "path"?`},
		"mine":           {`[{"action": "break", "filter": "mine"}]`, `incoming.rules[0].filter: want an object, got the string "mine"`},
		"status":         {`[{"action": "fail", "status": 200}]`, `incoming.rules[0].status: want the status of a failure, from 400 to 599, got 200`},
		"status of one":  {`[{"action": "break", "status": 500}]`, `incoming.rules[0].status: is for "action" "fail"; this one is "break"`},
		"no delay":       {`[{"action": "delay"}]`, `incoming.rules[0].delay: missing; want how long, for example "2s"`},
		"delay, number":  {`[{"action": "delay", "delay": 2}]`, `incoming.rules[0].delay: want a string, got the number 2`},
		"delay, unit":    {`[{"action": "delay", "delay": "2"}]`, `incoming.rules[0].delay: want a duration, for example "2s" or "250ms", got "2"`},
		"delay too long": {`[{"action": "delay", "delay": "61s"}]`, `incoming.rules[0].delay: want a duration of more than 0 and at most 1m0s, got 61s`},
		"delay negative": {`[{"action": "delay", "delay": "-1s"}]`, `incoming.rules[0].delay: want a duration of more than 0 and at most 1m0s, got -1s`},
		"times":          {`[{"action": "break", "times": 0}]`, `incoming.rules[0].times: want a whole number of requests from 1 to 65535, got 0`},
		"port":           {`[{"action": "break", "ports": [0]}]`, `incoming.rules[0].ports[0]: port 0 is not a whole number from 1 to 65535`},
		"other port":     {`[{"action": "break"}, {"action": "break", "ports": [81]}]`, `incoming.rules[1].ports[0]: port 81 is none of "incoming.ports"`},
		"body":           {`[{"action": "fail", "body": "` + strings.Repeat("x", 64<<10+1) + `"}]`, `incoming.rules[0].body: want at most 65536 bytes, got 65537`},
		"too many":       {`[` + strings.Repeat(`{"action": "break"},`, 101) + `]`, `incoming.rules: want at most 100 rules, got 101`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := problems(t, `{"target": "process/1", "incoming": {"mode": "steal", "ports": {"80": 8080}, "rules": `+tt.rules+`}}`)
			if len(got) != 1 || got[0].Line != 1 || !strings.HasSuffix(got[0].String(), ": "+tt.want) {
				t.Errorf("got %v\nwant %s", got, tt.want)
			}
		})
	}
	for key, value := range map[string]string{"rules": `[]`, "existing": `"reset"`, "probes": `"debuggee"`, "probeFilter": `{"path": "/a"}`} {
		got := problems(t, `{"target": "process/1", "incoming": {"mode": "mirror", "`+key+`": `+value+`}}`)
		if len(got) != 1 || !strings.Contains(got[0].String(), `incoming.`+key+`: is for "mode" "steal"`) {
			t.Errorf("%s of a mirror: %v", key, got)
		}
	}
}

func TestParseRulesOfARunningSession(t *testing.T) {
	list, err := config.ParseRules([]byte(`[{"action": "break", "filter": {"path": "/a"}}, {"action": "delay", "delay": "2s"}]`))
	if err != nil || len(list) != 2 || list[1].Wait() != 2*time.Second {
		t.Errorf("got %v, %v", list, err)
	}
	one, err := config.ParseRule([]byte(`{"action": "fail", "status": 504}`))
	if err != nil || one.Answer() != 504 {
		t.Errorf("got %v, %v", one, err)
	}
	for text, want := range map[string]string{
		`[{"action": "delay"}]`: `[0].delay: missing; want how long, for example "2s"`,
		`{`:                     `not JSON: `,
		`[{"action": "brake", "delay": "2s"}, {"times": "x"}]`: `did you mean "break"?`,
	} {
		_, err := config.ParseRules([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRules(%s) = %v, want %s", text, err, want)
		}
	}
	_, err = config.ParseRule([]byte(`{"filter": {}}`))
	var found config.Problems
	if !errors.As(err, &found) || !slices.ContainsFunc(found, func(p config.Problem) bool { return p.Path == "action" }) {
		t.Errorf("ParseRule without an action: %v", err)
	}
}

func TestCheckListsRules(t *testing.T) {
	report := config.Check([]byte(`{"configurations": [
		{"name": "a", "type": "go", "mirror": {"target": "process/1", "incoming": {"mode": "steal", "rules": [{"action": "break"}]}}},
		{"name": "b", "type": "go", "mirror": {"target": "process/1", "incoming": {"mode": "steal", "rules": [{"action": "fail", "filter": "${input:f}", "body": "${input:b}"}]}}},
	]}`))
	if len(report.Problems) > 0 || len(report.Rules) != 2 || report.Rules[0].Name != `"a"` || report.Rules[0].Rules[0].String() != "break on every request" {
		t.Errorf("got %+v", report)
	}
}
