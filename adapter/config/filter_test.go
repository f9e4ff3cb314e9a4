package config_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/filter"
)

func TestParseReadsFilters(t *testing.T) {
	tests := map[string]struct{ block, want, written string }{
		"none":     {`{"target": "process/1"}`, `every request`, `null`},
		"mine":     {`{"target": "process/1", "incoming": {"filter": "mine"}}`, `baggage podstep = the session's own key`, `"mine"`},
		"declared": {`{"target": "process/1", "incoming": {"mode": "steal", "filter": {"path": "/a", /* one */ "method": ["GET",],}}}`, `method GET and path = "/a"`, `{"method":"GET","path":"/a"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := config.Parse([]byte(tt.block))
			if err != nil {
				t.Fatal(err)
			}
			f := m.Incoming.Filter
			if got := f.String(); got != tt.want {
				t.Errorf("the filter is %s, want %s", got, tt.want)
			}
			if got, err := json.Marshal(f); err != nil || string(got) != tt.written {
				t.Errorf("it is written %s, %v; want %s", got, err, tt.written)
			}
			if f.IsZero() != (name == "none") {
				t.Errorf("IsZero = %v", f.IsZero())
			}
		})
	}
}

func TestFilterOfASession(t *testing.T) {
	mine, err := config.ParseFilter("mine")
	if err != nil {
		t.Fatal(err)
	}
	if got := mine.With("k1"); !got.Equal(filter.Mine("k1")) {
		t.Errorf("mine of k1 is %s", got)
	}
	declared, err := config.ParseFilter(` {"path": "/a"}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := declared.With("k1").String(); got != `path = "/a"` {
		t.Errorf("a filter of the user's own is %s", got)
	}
	for s, want := range map[string]string{
		"mien":         `unknown value "mien"; did you mean "mine"?`,
		"x-user=alice": `unknown value "x-user=alice"; want "mine" or an object, for example {"header": {"x-user": "alice"}}`,
		`{"pth": "/"}`: `pth: unknown key; did you mean "path"?`,
	} {
		if _, err := config.ParseFilter(s); err == nil || err.Error() != want {
			t.Errorf("ParseFilter(%s) = %v\nwant %s", s, err, want)
		}
	}
}

func TestParseReportsEachProblemOfAFilter(t *testing.T) {
	tests := map[string]struct{ incoming, want string }{
		"near word":        {`{"filter": "mime"}`, `incoming.filter: unknown value "mime"; did you mean "mine"?`},
		"far word":         {`{"filter": "alice"}`, `incoming.filter: unknown value "alice"; want "mine" or an object, for example {"header": {"x-user": "alice"}}`},
		"no object":        {`{"filter": true}`, `incoming.filter: want "mine" or an object, got true`},
		"empty":            {`{"filter": {}}`, `incoming.filter: empty; want a condition, for example {"header": {"x-user": "alice"}}`},
		"key":              {`{"filter": {/* Ä */ "headers": {}}}`, `incoming.filter.headers: unknown key; did you mean "header"?`},
		"value":            {`{"filter": {"any": [{"path": "/a",}, {"path": "b"},]}}`, `incoming.filter.any[1].path: does not begin with /; no path in the usual form does, and others are not matched`},
		"variable":         {`{"filter": {"path": "${b}"}}`, `incoming.filter.path: does not begin with /; no path in the usual form does, and others are not matched`},
		"nothing to match": {`{"mode": "off", "filter": {"path": "/a"}}`, `incoming.filter: incoming traffic is left alone; a filter is for "mode" steal or mirror`},
	}
	at := map[string]int{"key": 21, "value": 47, "variable": 21, "nothing to match": 27}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			begin := `{"target": "process/1", "incoming": `
			want := fmt.Sprintf("1:%d: %s", len(begin)+max(at[name], 12), tt.want)
			got := problems(t, begin+tt.incoming+`}`)
			if len(got) != 1 || got[0].String() != want {
				t.Errorf("Parse(%s)\n got %v\nwant %s", tt.incoming, got, want)
			}
		})
	}
	got := problems(t, `{"target": "targetless", "incoming": {"filter": "mine"}}`)
	if want := `1:49: incoming.filter: a session without a target receives no requests`; len(got) != 1 || got[0].String() != want {
		t.Errorf("Parse without a target\n got %v\nwant %s", got, want)
	}
}

func TestProblemsOfAFilterStandInTheirLine(t *testing.T) {
	got := problems(t, "{\n  \"target\": \"process/1\",\n  \"incoming\": {\n    // whose?\n    \"filter\": {\n      \"header\": {\"x user\": \"a\"}, // mine\n      \"methd\": 1,\n    },\n  },\n}")
	want := []string{
		`6:18: incoming.filter.header.x user: "x user" cannot be the name of a header`,
		`7:7: incoming.filter.methd: unknown key; did you mean "method"?`,
	}
	var lines []string
	for _, p := range got {
		lines = append(lines, p.String())
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
}

func TestCheckListsFilters(t *testing.T) {
	report := config.Check([]byte(`{"configurations": [
		{"name": "a", "type": "go", "mirror": {"target": "process/1", "incoming": {"filter": {"header": {"x-user": "${env:USER}"}, "path": "/a"}}}},
		{"type": "go", "mirror": {"target": "process/1", "incoming": {"filter": "mine"}}},
		{"type": "go", "mirror": {"target": "process/1", "incoming": {"filter": "${config:filter}"}}},
		{"type": "go", "mirror": {"target": "process/1", "incoming": {"filter": {"path": "${input:path}", "header": {"${input:name}": "a"}}}}},
		{"type": "go", "mirror": {"target": "process/1"}},
	]}`))
	if len(report.Problems) > 0 {
		t.Fatalf("problems %v, want none: the editor's variables are put in later", report.Problems)
	}
	var got []string
	for _, f := range report.Filters {
		got = append(got, f.Name+": "+f.Filter.String())
	}
	want := []string{`"a": path = "/a" and header x-user = "${env:USER}"`, `configurations[1]: baggage podstep = the session's own key`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("filters (-want +got):\n%s", diff)
	}
}

func TestConditionsAreThoseOfFilters(t *testing.T) {
	var documented []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[config.Conditions]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		documented = append(documented, name)
	}
	known := filter.Keys()
	slices.Sort(known)
	slices.Sort(documented)
	if diff := cmp.Diff(known, documented); diff != "" {
		t.Errorf("Conditions (-known +documented):\n%s", diff)
	}
}
