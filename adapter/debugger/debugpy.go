package debugger

import (
	"context"
	_ "embed" // the recorded capabilities
	"encoding/json"
	"os/exec"
	"path/filepath"

	"podstep.dev/internal/fault"
)

//go:embed debugpy.json
var debugpyCapabilities []byte

// debugpy is the debugger for Python. Its adapter speaks over stdio and runs beside the interception; only the interpreter that runs the
// debuggee is prefixed, whether debugpy starts it or a terminal does.
type debugpy struct{}

func (debugpy) Name() string                  { return "debugpy" }
func (debugpy) Capabilities() json.RawMessage { return debugpyCapabilities }
func (debugpy) Clues() []Clue                 { return debugpyClues() }

func (d debugpy) Check(_ context.Context, l Launch) error {
	if err := l.Attributes.check(); err != nil {
		return err
	}
	_, err := d.python(l)
	return err
}

func (d debugpy) Prepare(ctx context.Context, l Launch) (Prepared, error) {
	a := l.Attributes
	if err := a.check(); err != nil {
		return Prepared{}, err
	}
	python, err := d.python(l)
	if err != nil {
		return Prepared{}, err
	}
	host := []string{python[0]}
	if tool := a.Text("debugAdapterPython"); tool != "" {
		host[0] = tool
	}
	p := Prepared{Attributes: a, Debuggee: python}
	if path := a.Text("debugAdapterPath"); path != "" {
		p.Program = append(host, path)
		return p, nil
	}
	cmd := exec.CommandContext(ctx, host[0], "-c", "import importlib.util, sys; sys.exit(importlib.util.find_spec('debugpy') is None)")
	cmd.Env = l.Environ
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return Prepared{}, context.Cause(ctx)
		}
		if len(out) > 0 {
			l.Say("stderr", string(out))
		}
		return Prepared{}, &fault.Fault{
			ID: fault.DebuggerMissing, What: "debugpy, the debugger for Python, is not installed for " + host[0],
			Hint: "Install it: " + host[0] + " -m pip install debugpy", Err: err,
		}
	}
	p.Program = append(host, "-m", "debugpy.adapter")
	return p, nil
}

// python finds the interpreter of the debuggee: the attribute, the virtual environment, PATH.
func (debugpy) python(l Launch) ([]string, error) {
	const hint = `Install Python, or give its path as "python".`
	python := l.Attributes.Texts("python")
	if python == nil {
		python = l.Attributes.Texts("pythonPath")
	}
	if len(python) > 0 {
		path, err := onPath(l.Environ, python[0])
		if err != nil {
			return nil, &fault.Fault{ID: fault.DebuggerMissing, What: `the Python that "python" names is not there`, Hint: hint, Err: err}
		}
		return append([]string{path}, python[1:]...), nil
	}
	if env := lookup(l.Environ, "VIRTUAL_ENV"); env != "" {
		if path := filepath.Join(env, "bin", "python"); executable(path) == nil {
			return []string{path}, nil
		}
	}
	for _, name := range []string{"python3", "python"} {
		if path, err := onPath(l.Environ, name); err == nil {
			return []string{path}, nil
		}
	}
	return nil, &fault.Fault{ID: fault.DebuggerMissing, What: "neither python3 nor python is on PATH", Hint: hint}
}

func (debugpy) Wrap(p Prepared, in Interception) Wrapped {
	a := p.Attributes.beneath(in.Env)
	a = a.Without(func(name string) bool { return name == "pythonPath" }) // debugpy refuses both
	a = a.With("python", in.Command(p.Debuggee, false))
	if !a.Has("debugLauncherPython") {
		a = a.With("debugLauncherPython", p.Debuggee[0])
	}
	return Wrapped{Attributes: a, Argv: p.Program}
}
