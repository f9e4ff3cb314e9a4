package debugger

import (
	"context"
	_ "embed" // the recorded capabilities
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"

	"podstep.dev/internal/fault"
)

//go:embed dlv.json
var dlvCapabilities []byte

// dlv is Delve. It runs whole under the interception, of which only what it traces takes part, and dials a unix socket.
type dlv struct{}

func (dlv) Name() string                  { return "dlv" }
func (dlv) Capabilities() json.RawMessage { return dlvCapabilities }
func (dlv) Clues() []Clue                 { return dlvClues() }

func (d dlv) Check(ctx context.Context, l Launch) error {
	if err := l.Attributes.check(); err != nil {
		return err
	}
	_, err := d.find(ctx, l)
	return err
}

func (d dlv) Prepare(ctx context.Context, l Launch) (Prepared, error) {
	a := l.Attributes
	env, err := a.environment()
	if err != nil {
		return Prepared{}, fault.New(fault.BadConfig, "the launch configuration is not valid", err)
	}
	program, err := d.find(ctx, l)
	if err != nil {
		return Prepared{}, err
	}
	p := Prepared{Attributes: a, Program: append([]string{program, "dap"}, d.flags(a)...), Dir: a.Text("__buildDir")}
	switch mode := dlvMode(a); mode {
	case "exec":
	case "debug", "test":
		b := goBuild{launch: l, environ: overlay(l.Environ, env), test: mode == "test"}
		if p.Attributes, err = b.run(ctx); err != nil {
			return Prepared{}, err
		}
	default:
		return Prepared{}, &fault.Fault{
			ID: fault.BadConfig, What: `dlv's mode "` + mode + `" starts no debuggee that could borrow anything`,
			Hint: `Use "mode": "debug", "test" or "exec".`,
		}
	}
	return p, nil
}

// dlvMode is the mode that counts; vscode-go resolves "auto" itself, other editors leave it to us.
func dlvMode(a Attributes) string {
	switch mode := a.Text("mode"); mode {
	case "":
		return "debug"
	case "auto":
		if strings.HasSuffix(a.Text("program"), "_test.go") {
			return "test"
		}
		return "debug"
	default:
		return mode
	}
}

// flags are those which vscode-go gives to dlv itself.
func (dlv) flags(a Attributes) []string {
	var flags []string
	if a.True("showLog") {
		flags = append(flags, "--log")
	}
	if out := a.Text("logOutput"); out != "" {
		flags = append(flags, "--log-output="+out)
	}
	return append(flags, a.Texts("dlvFlags")...)
}

// find looks where vscode-go looks: the attribute, the directory of go install, PATH.
func (dlv) find(ctx context.Context, l Launch) (string, error) {
	const hint = "Install it: go install github.com/go-delve/delve/cmd/dlv@latest. Or give its path as \"dlvToolPath\"."
	if tool := l.Attributes.Text("dlvToolPath"); tool != "" {
		path, err := onPath(l.Environ, tool)
		if err != nil {
			return "", &fault.Fault{ID: fault.DebuggerMissing, What: `dlv is not at "dlvToolPath"`, Hint: hint, Err: err}
		}
		return path, nil
	}
	for _, dir := range goBins(ctx, l.Environ) {
		if path := filepath.Join(dir, "dlv"); executable(path) == nil {
			return path, nil
		}
	}
	path, err := onPath(l.Environ, "dlv")
	if err != nil {
		return "", &fault.Fault{ID: fault.DebuggerMissing, What: "dlv, the debugger for Go, is not installed", Hint: hint, Err: err}
	}
	return path, nil
}

// goBins are the directories where go install puts programs; none when there is no go.
func goBins(ctx context.Context, environ []string) []string {
	program, err := onPath(environ, "go")
	if err != nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, program, "env", "GOBIN", "GOPATH")
	cmd.Env = environ
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	bin, paths, _ := strings.Cut(string(out), "\n")
	if bin = strings.TrimSpace(bin); bin != "" {
		return []string{bin}
	}
	var dirs []string
	for _, p := range filepath.SplitList(strings.TrimSpace(paths)) {
		dirs = append(dirs, filepath.Join(p, "bin"))
	}
	return dirs
}

func (dlv) Wrap(p Prepared, in Interception) Wrapped {
	argv := append(p.Program[:len(p.Program):len(p.Program)], "--client-addr", "unix:"+in.Socket)
	// Without debugging dlv traces nothing: then all of it is intercepted.
	return Wrapped{
		Attributes: p.Attributes.beneath(in.Env), Argv: in.Command(argv, !p.Attributes.True("noDebug")), Dir: p.Dir, Dials: true,
	}
}
