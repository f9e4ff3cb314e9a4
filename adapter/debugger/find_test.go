package debugger

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"podstep.dev/internal/fault"
)

// program writes an executable into dir.
func program(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindDlvLooksAtTheAttributeThenGosDirectoryThenPath(t *testing.T) {
	dir := t.TempDir()
	own := program(t, dir, "own/dlv", "")
	installed := program(t, dir, "gobin/dlv", "")
	onpath := program(t, dir, "path/dlv", "")
	goAnswers := func(text string) string {
		d := t.TempDir()
		program(t, d, "go", "#!/bin/sh\nprintf '%s\\n' "+text+"\n")
		return d
	}
	for name, test := range map[string]struct {
		attributes string
		path       []string
		want       string
	}{
		"the attribute":            {`{"dlvToolPath":"` + own + `"}`, []string{goAnswers("'" + dir + "/gobin' ''"), dir + "/path"}, own},
		"the attribute by name":    {`{"dlvToolPath":"dlv"}`, []string{goAnswers("'" + dir + "/gobin' ''"), dir + "/path"}, onpath},
		"GOBIN":                    {`{}`, []string{goAnswers("'" + dir + "/gobin' '/none'"), dir + "/path"}, installed},
		"GOPATH without it":        {`{}`, []string{goAnswers("'' '/none:/neither'"), dir + "/path"}, onpath},
		"PATH without go":          {`{}`, []string{dir + "/path"}, onpath},
		"nowhere":                  {`{}`, []string{"/none"}, ""},
		"an attribute that is not": {`{"dlvToolPath":"/none/dlv"}`, []string{dir + "/path"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := Launch{Attributes: parse(t, test.attributes), Environ: []string{"PATH=" + strings.Join(test.path, ":")}}
			got, err := dlv{}.find(t.Context(), l)
			if got != test.want {
				t.Errorf("%q, %v, want %q", got, err, test.want)
			}
			var f *fault.Fault
			if test.want == "" && (!errors.As(err, &f) || f.ID != fault.DebuggerMissing || !strings.Contains(f.Advice(), "go install")) {
				t.Errorf("fault %v", err)
			}
		})
	}
}

func TestFindPythonLooksAtTheAttributeThenTheVirtualEnvironmentThenPath(t *testing.T) {
	dir := t.TempDir()
	own := program(t, dir, "own/python", "")
	venv := program(t, dir, "venv/bin/python", "")
	three := program(t, dir, "path/python3", "")
	for name, test := range map[string]struct {
		attributes string
		environ    []string
		want       []string
	}{
		"python":         {`{"python":"` + own + `"}`, []string{"VIRTUAL_ENV=" + dir + "/venv"}, []string{own}},
		"python as list": {`{"python":["` + own + `","-X","dev"]}`, nil, []string{own, "-X", "dev"}},
		"pythonPath":     {`{"pythonPath":"` + own + `"}`, nil, []string{own}},
		"environment":    {`{}`, []string{"VIRTUAL_ENV=" + dir + "/venv", "PATH=" + dir + "/path"}, []string{venv}},
		"PATH":           {`{}`, []string{"PATH=/none:" + dir + "/path"}, []string{three}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := debugpy{}.python(Launch{Attributes: parse(t, test.attributes), Environ: test.environ})
			if err != nil || strings.Join(got, " ") != strings.Join(test.want, " ") {
				t.Errorf("%v, %v, want %v", got, err, test.want)
			}
		})
	}
}
