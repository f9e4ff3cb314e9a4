package debugger

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/internal/fault"
)

// module writes a Go module and returns its directory.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.com/m\n\ngo 1.21\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const printing = `package main

import (
	"fmt"
	"os"
)

var version = "none"

func main() { wd, _ := os.Getwd(); fmt.Println(version, extra(), wd) }
`

// files of a module whose command has two files, one with a tag, and a file that stands alone.
func files() map[string]string {
	return map[string]string{
		"cmd/app/main.go":   printing,
		"cmd/app/plain.go":  "//go:build !special\n\npackage main\n\nfunc extra() string { return \"plain\" }\n",
		"cmd/app/tagged.go": "//go:build special\n\npackage main\n\nfunc extra() string { return \"special\" }\n",
		"cmd/app/alone.go":  "//go:build ignore\n\npackage main\n\nfunc main() { println(\"alone\") }\n",
		"lib/lib.go":        "package lib\n",
		"lib/lib_test.go":   "package lib\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) {}\n",
	}
}

// build prepares a launch and returns the attributes and what was said.
func build(t *testing.T, attributes string, environ ...string) (Attributes, string, error) {
	t.Helper()
	var said strings.Builder
	l := Launch{
		Attributes: parse(t, attributes), Dir: t.TempDir(), Generation: 3, Environ: append(os.Environ(), environ...),
		Say: func(_, text string) { said.WriteString(text) },
	}
	env, err := l.Attributes.environment()
	if err != nil {
		t.Fatal(err)
	}
	b := goBuild{launch: l, environ: overlay(l.Environ, env), test: dlvMode(l.Attributes) == "test"}
	a, err := b.run(t.Context())
	return a, said.String(), err
}

func TestGoBuildTakesProgramsInEveryForm(t *testing.T) {
	dir := module(t, files())
	app := filepath.Join(dir, "cmd", "app")
	for name, test := range map[string]struct{ attributes, want string }{
		"directory":            {`{"program":"` + app + `"}`, "none plain"},
		"file of the package":  {`{"program":"` + app + `/main.go"}`, "none plain"},
		"file alone":           {`{"program":"` + app + `/alone.go"}`, "alone"},
		"import path":          {`{"program":"example.com/m/cmd/app","dlvCwd":"` + dir + `"}`, "none plain"},
		"relative to dlvCwd":   {`{"program":"./cmd/app","dlvCwd":"` + dir + `"}`, "none plain"},
		"as vscode-go sends":   {`{"program":".","__buildDir":"` + app + `"}`, "none plain"},
		"vscode-go's file":     {`{"program":"./main.go","__buildDir":"` + app + `"}`, "none plain"},
		"flags as a string":    {`{"program":"` + app + `","buildFlags":"-tags=special -ldflags='-X main.version=1.2'"}`, "1.2 special"},
		"flags as a list":      {`{"program":"` + app + `","buildFlags":["-tags","special","-ldflags=-X main.version=1.3"]}`, "1.3 special"},
		"flags that change -C": {`{"program":"./cmd/app","dlvCwd":"/","buildFlags":["-C","` + dir + `"]}`, "none plain"},
		"no flags":             {`{"program":"` + app + `","buildFlags":"","env":{"UNSET":null}}`, "none plain"},
		"environment":          {`{"program":"` + app + `","env":{"GOFLAGS":"-tags=special"}}`, "none special"},
	} {
		t.Run(name, func(t *testing.T) {
			a, said, err := build(t, test.attributes)
			if err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			if a.Text("mode") != "exec" || filepath.Base(a.Text("program")) != "debuggee-3" || a.Has("buildFlags") {
				t.Errorf("attributes %s", a.Raw())
			}
			out, err := exec.Command(a.Text("program")).CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), test.want) {
				t.Errorf("%q, %v, want %q", out, err, test.want)
			}
			if !strings.Contains(said, "-gcflags all=-N -l") {
				t.Errorf("said %q", said)
			}
		})
	}
}

func TestGoBuildLeavesANamedOutput(t *testing.T) {
	dir := module(t, files())
	a, _, err := build(t, `{"program":"./cmd/app","dlvCwd":"`+dir+`","output":"out/app"}`)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "out", "app"); a.Text("program") != want || executable(want) != nil {
		t.Errorf("program %q", a.Text("program"))
	}
	if a.Has("output") {
		t.Error("dlv would delete it")
	}
}

func TestGoBuildOfATestRunsInThePackagesDirectory(t *testing.T) {
	dir := module(t, files())
	lib := filepath.Join(dir, "lib")
	for name, attributes := range map[string]string{
		"directory":   `{"mode":"test","program":"` + lib + `"}`,
		"file":        `{"mode":"auto","program":"` + lib + `/lib_test.go"}`,
		"import path": `{"mode":"test","program":"example.com/m/lib","dlvCwd":"` + dir + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			a, said, err := build(t, attributes)
			if err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			got, _ := filepath.EvalSymlinks(a.Text("cwd"))
			if want, _ := filepath.EvalSymlinks(lib); got != want {
				t.Errorf("cwd %q, want %q", a.Text("cwd"), want)
			}
		})
	}
	a, _, err := build(t, `{"mode":"test","program":"`+lib+`","cwd":"/"}`)
	if err != nil || a.Text("cwd") != "/" {
		t.Errorf("the person's own cwd became %q, %v", a.Text("cwd"), err)
	}
}

func TestGoBuildShowsTheCompilersErrors(t *testing.T) {
	dir := module(t, map[string]string{"main.go": "package main\n\nfunc main() { x := 1 }\n"})
	_, said, err := build(t, `{"program":"`+dir+`"}`)
	var f *fault.Fault
	if !errors.As(err, &f) || f.ID != fault.BuildFailed {
		t.Fatalf("%v", err)
	}
	if !strings.Contains(said, "main.go:3:15: declared and not used: x") {
		t.Errorf("said %q", said)
	}
}

func TestGoBuildEndsWithItsContext(t *testing.T) {
	dir := module(t, files())
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("cancelled")
	cancel(why)
	b := goBuild{launch: Launch{
		Attributes: parse(t, `{"program":"`+dir+`/cmd/app"}`), Dir: t.TempDir(), Environ: os.Environ(), Say: func(string, string) {},
	}, environ: os.Environ()}
	if _, err := b.run(ctx); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestSplitQuotedReadsFlagsAsDlvDoes(t *testing.T) {
	for in, want := range map[string][]string{
		"":                                       nil,
		"  ":                                     nil,
		"-race":                                  {"-race"},
		" -a\t-b\n-c ":                           {"-a", "-b", "-c"},
		"-ldflags='-X main.V=1 -s' -v":           {"-ldflags=-X main.V=1 -s", "-v"},
		"'a b'c '' d":                            {"a bc", "", "d"},
		`'it\'s' \n`:                             {"it's", `\n`},
		"-tags=a,b -ldflags='-X main.V=\\'x\\''": {"-tags=a,b", "-ldflags=-X main.V='x'"},
	} {
		got, err := splitQuoted(in)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %s, %v", in, cmp.Diff(want, got), err)
		}
	}
	if got, err := splitQuoted("-ldflags='x"); err == nil {
		t.Errorf("an open quote gave %q", got)
	}
}
