package debugger

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/internal/fault"
)

func parse(t *testing.T, raw string) Attributes {
	t.Helper()
	a, err := ParseAttributes(json.RawMessage(raw))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestChooseAsksDebuggerThenTypeThenProgram(t *testing.T) {
	for _, test := range []struct{ attributes, want string }{
		{`{"debugger":"dlv","__podstepType":"python","program":"a.py"}`, "dlv"},
		{`{"debugger":"debugpy"}`, "debugpy"},
		{`{"type":"podstep","__podstepType":"go"}`, "dlv"},
		{`{"type":"podstep","__podstepType":"debugpy"}`, "debugpy"},
		{`{"type":"podstep","__podstepType":"python"}`, "debugpy"},
		{`{"type":"python","program":"x"}`, "debugpy"},
		{`{"type":"go","program":"x.py"}`, "dlv"},
		{`{"type":"podstep","program":"/src/app.py"}`, "debugpy"},
		{`{"type":"podstep","module":"flask"}`, "debugpy"},
		{`{"type":"podstep","program":"/src/main.go"}`, "dlv"},
		{`{"type":"podstep","mode":"exec","program":"/bin/app"}`, "dlv"},
		{`{"type":"podstep","__podstepType":"cppdbg","program":"/src/main.go"}`, ""},
		{`{"type":"podstep","program":"/bin/app"}`, ""},
		{`{"debugger":"gdb","type":"go"}`, ""},
		{`{}`, ""},
	} {
		d, err := Choose(parse(t, test.attributes))
		got := ""
		if err == nil {
			got = d.Name()
		} else if f := (*fault.Fault)(nil); !errors.As(err, &f) || f.ID != fault.UnknownDebugger {
			t.Errorf("%s: %v is no fault %d", test.attributes, err, fault.UnknownDebugger)
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.attributes, got, test.want)
		}
	}
}

func TestAttributesKeepWhatIsNotTouched(t *testing.T) {
	raw := `{ "z" : 1.50, "env":{"B":"2","A":null}, "mirror":{"target":"x"}, "a":[ 1 ], "debugger":"dlv", "__podstepType":"go", "html":"<&>", "empty":"" }`
	a := parse(t, raw).Without(Own).With("a", "new").With("html2", "<&>").beneath(map[string]string{"A": "pod", "C": "pod"})
	want := `{"z":1.50,"env":{"B":"2","A":null,"C":"pod"},"a":"new","html":"<&>","empty":"","html2":"<&>"}`
	if got := string(a.Raw()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !slices.Equal(a.EnvNames(), []string{"A", "B", "C"}) {
		t.Errorf("env names %v", a.EnvNames())
	}
}

func TestParseAttributesRefusesOtherThanObjects(t *testing.T) {
	for _, raw := range []string{``, `[]`, `null`, `"x"`, `{"a":}`, `{"a"`} {
		if a, err := ParseAttributes(json.RawMessage(raw)); err == nil {
			t.Errorf("%q: %v", raw, a)
		}
	}
}

func TestCapabilitiesAreObjectsWithoutDoubles(t *testing.T) {
	for _, d := range Known() {
		seen := map[string]bool{}
		for _, c := range parse(t, string(d.Capabilities())) {
			if seen[c.Name] {
				t.Errorf("%s: %s twice", d.Name(), c.Name)
			}
			seen[c.Name] = true
		}
		if !seen["supportsConfigurationDoneRequest"] {
			t.Errorf("%s: %v", d.Name(), seen)
		}
	}
}

// prefixed is an interception whose commands show what was asked for.
func prefixed(env map[string]string) Interception {
	return Interception{
		Command: func(argv []string, traced bool) []string {
			how := "exec"
			if traced {
				how = "traced"
			}
			return append([]string{"launch", how, "--"}, argv...)
		},
		Env: env, Socket: "/s/dap.sock",
	}
}

func TestWrapPutsDlvUnderTheInterceptionAndItsDebuggeeIntoThePodsEnvironment(t *testing.T) {
	p := Prepared{Attributes: parse(t, `{"mode":"exec","program":"/s/debuggee","env":{"A":"mine"}}`), Program: []string{"/bin/dlv", "dap", "--log"}, Dir: "/src"}
	w := dlv{}.Wrap(p, prefixed(map[string]string{"A": "pod", "B": "pod"}))
	if diff := cmp.Diff([]string{"launch", "traced", "--", "/bin/dlv", "dap", "--log", "--client-addr", "unix:/s/dap.sock"}, w.Argv); diff != "" {
		t.Error(diff)
	}
	if got, want := string(w.Attributes.Raw()), `{"mode":"exec","program":"/s/debuggee","env":{"A":"mine","B":"pod"}}`; got != want {
		t.Errorf("attributes %s", got)
	}
	if !w.Dials || w.Dir != "/src" {
		t.Errorf("%+v", w)
	}
	p.Attributes = p.Attributes.With("noDebug", json.RawMessage("true"))
	if w := (dlv{}).Wrap(p, prefixed(nil)); w.Argv[1] != "exec" {
		t.Errorf("without debugging nothing is traced: %v", w.Argv)
	}
}

func TestWrapPrefixesOnlyThePythonOfTheDebuggee(t *testing.T) {
	p := Prepared{
		Attributes: parse(t, `{"program":"a.py","pythonPath":"/usr/bin/python3","console":"integratedTerminal"}`),
		Program:    []string{"/usr/bin/python3", "-m", "debugpy.adapter"}, Debuggee: []string{"/usr/bin/python3", "-X", "dev"},
	}
	w := debugpy{}.Wrap(p, prefixed(nil))
	if diff := cmp.Diff([]string{"/usr/bin/python3", "-m", "debugpy.adapter"}, w.Argv); diff != "" || w.Dials {
		t.Error(diff)
	}
	want := `{"program":"a.py","console":"integratedTerminal","python":["launch","exec","--","/usr/bin/python3","-X","dev"],"debugLauncherPython":"/usr/bin/python3"}`
	if got := string(w.Attributes.Raw()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	p.Attributes = p.Attributes.With("debugLauncherPython", "/mine")
	if w := (debugpy{}).Wrap(p, prefixed(nil)); w.Attributes.Text("debugLauncherPython") != "/mine" {
		t.Errorf("the person's own was replaced: %s", w.Attributes.Raw())
	}
}
