package debugger

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// Installed is a debugger as this machine has it.
type Installed struct {
	// Name is what "debugger" in a launch configuration calls it.
	Name string
	// Path is its program, or the interpreter that has it.
	Path string
	// Version is its own word for it.
	Version string
	// Err is a *fault.Fault that says why it cannot be used; nil when it can.
	Err error
}

// Survey looks for every debugger as a launch without attributes would.
func Survey(ctx context.Context, environ []string) []Installed {
	launch := Launch{Environ: environ, Say: func(string, string) {}}
	return []Installed{dlv{}.installed(ctx, launch), debugpy{}.installed(ctx, launch)}
}

func (d dlv) installed(ctx context.Context, l Launch) Installed {
	in := Installed{Name: d.Name()}
	if in.Path, in.Err = d.find(ctx, l); in.Err == nil {
		in.Version, in.Err = says(ctx, l.Environ, regexp.MustCompile(`(?m)^Version: (\S+)`), in.Path, "version")
	}
	return in
}

func (d debugpy) installed(ctx context.Context, l Launch) Installed {
	in := Installed{Name: d.Name()}
	prepared, err := d.Prepare(ctx, l)
	if err != nil {
		in.Err = err
		return in
	}
	in.Path = prepared.Debuggee[0]
	in.Version, in.Err = says(ctx, l.Environ, regexp.MustCompile(`(\S+)`), in.Path, "-c", "import debugpy; print(debugpy.__version__)")
	return in
}

// says runs a program and returns what the pattern finds in its words.
func says(ctx context.Context, environ []string, pattern *regexp.Regexp, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = environ
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w", strings.Join(argv, " "), err)
	}
	found := pattern.FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("run %s: it does not say its version", strings.Join(argv, " "))
	}
	return string(found[1]), nil
}
