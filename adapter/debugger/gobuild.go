package debugger

import (
	"bytes"
	"context"
	"fmt"
	gobuildinfo "go/build"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"podstep.dev/internal/fault"
)

// goBuild builds what dlv's modes debug and test would have built themselves, with the same flags.
type goBuild struct {
	launch  Launch
	environ []string
	test    bool
}

// run builds and returns the attributes for mode exec.
func (b goBuild) run(ctx context.Context) (Attributes, error) {
	a := b.launch.Attributes
	program := a.Text("program")
	if program == "" {
		return nil, &fault.Fault{ID: fault.BadConfig, What: `the launch configuration has no "program"`, Hint: `Name the folder of the program, for example "program": "${workspaceFolder}/cmd/server".`}
	}
	goTool, err := onPath(b.environ, "go")
	if err != nil {
		return nil, &fault.Fault{ID: fault.BuildFailed, What: "the go command is not installed", Hint: "Install Go, or build yourself and use \"mode\": \"exec\".", Err: err}
	}
	flags, err := buildFlags(a)
	if err != nil {
		return nil, fault.New(fault.BadConfig, "the launch configuration is not valid", err)
	}
	dir, pkg := b.place(program, flags)
	output, err := b.output(dir)
	if err != nil {
		return nil, fault.New(fault.BadConfig, "the launch configuration is not valid", err)
	}
	argv := b.command(goTool, output, flags, pkg)
	if err := b.build(ctx, argv, dir); err != nil {
		return nil, err
	}
	a = a.With("mode", "exec").With("program", output).Without(func(n string) bool { return n == "output" || n == "buildFlags" })
	if b.test && a.Text("cwd") == "" {
		a = a.With("cwd", b.packageDir(ctx, goTool, dir, pkg))
	}
	return a, nil
}

// place is where to build and what: dlvCwd when given, else what vscode-go resolved, else the program's own directory.
func (b goBuild) place(program string, flags []string) (dir, pkg string) {
	dir = b.launch.Attributes.Text("dlvCwd")
	if dir == "" {
		dir = b.launch.Attributes.Text("__buildDir")
	}
	path := program
	if dir != "" && !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return dir, program // an import path
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	switch {
	case info.IsDir() && dir == "":
		return path, "."
	case info.IsDir():
		return dir, path
	}
	folder := filepath.Dir(path)
	if dir == "" {
		dir = folder
	}
	if !b.test && alone(path, flags) {
		return dir, path
	}
	return dir, folder
}

// alone reports whether the file does not belong to the package of its folder, as with //go:build ignore.
func alone(file string, flags []string) bool {
	for _, f := range flags {
		if strings.HasPrefix(strings.TrimLeft(f, "-"), "tags") {
			return false
		}
	}
	p, err := gobuildinfo.ImportDir(filepath.Dir(file), 0)
	return p != nil && (err != nil && len(p.GoFiles) == 0 || slices.Contains(p.IgnoredGoFiles, filepath.Base(file)))
}

// output is where the program goes: into the session's directory unless the person named a file, which then stays.
func (b goBuild) output(dir string) (string, error) {
	out := b.launch.Attributes.Text("output")
	if out == "" {
		return filepath.Abs(filepath.Join(b.launch.Dir, fmt.Sprintf("debuggee-%d", b.launch.Generation)))
	}
	if !filepath.IsAbs(out) {
		out = filepath.Join(dir, out)
	}
	return filepath.Abs(out)
}

// command is dlv's own: -C first, then its flags, then the person's.
func (b goBuild) command(goTool, output string, flags []string, pkg string) []string {
	argv := []string{goTool, "build"}
	if b.test {
		argv[1] = "test"
	}
	switch {
	case len(flags) >= 2 && flags[0] == "-C":
		argv, flags = append(argv, flags[:2]...), flags[2:]
	case len(flags) >= 1 && strings.HasPrefix(flags[0], "-C="):
		argv, flags = append(argv, flags[0]), flags[1:]
	}
	if b.test {
		argv = append(argv, "-c")
	}
	argv = append(argv, "-o", output, "-gcflags", "all=-N -l")
	return append(append(argv, flags...), pkg)
}

func (b goBuild) build(ctx context.Context, argv []string, dir string) error {
	b.launch.Say("console", "Building: go "+strings.Join(argv[1:], " ")+"\n")
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, b.environ
	ownGroup(cmd)
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("build: %w", context.Cause(ctx))
	case err != nil:
		if len(out) > 0 {
			b.launch.Say("stderr", string(bytes.TrimRight(out, "\n"))+"\n")
		}
		return fault.New(fault.BuildFailed, "the program does not build", err)
	}
	if len(out) > 0 {
		b.launch.Say("console", string(out))
	}
	return nil
}

// packageDir is where go test would run the test.
func (b goBuild) packageDir(ctx context.Context, goTool, dir, pkg string) string {
	if filepath.IsAbs(pkg) {
		return pkg
	}
	cmd := exec.CommandContext(ctx, goTool, "list", "-find", "-f", "{{.Dir}}", pkg)
	cmd.Dir, cmd.Env = dir, b.environ
	out, err := cmd.Output()
	if err != nil || len(bytes.TrimSpace(out)) == 0 {
		return dir
	}
	return string(bytes.TrimSpace(out))
}

// buildFlags reads "buildFlags": a list, or a string whose fields may be quoted with ' as in dlv.
func buildFlags(a Attributes) ([]string, error) {
	if !a.Has("buildFlags") {
		return nil, nil
	}
	if s := a.Text("buildFlags"); s != "" {
		return splitQuoted(s)
	}
	if string(a.Value("buildFlags")) == `""` {
		return nil, nil
	}
	list := a.Texts("buildFlags")
	if list == nil && string(a.Value("buildFlags")) != "[]" {
		return nil, fmt.Errorf(`"buildFlags" is neither a string nor a list of strings`)
	}
	return list, nil
}

// splitQuoted splits at white space outside '...'; a backslash within quotes keeps the next byte.
func splitQuoted(s string) ([]string, error) {
	var fields []string
	var field strings.Builder
	inField, quoted := false, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quoted && c == '\\' && i+1 < len(s):
			i++
			field.WriteByte(s[i])
		case c == '\'':
			quoted, inField = !quoted, true
		case !quoted && (c == ' ' || c == '\t' || c == '\n'):
			if inField {
				fields = append(fields, field.String())
				field.Reset()
			}
			inField = false
		default:
			field.WriteByte(c)
			inField = true
		}
	}
	if quoted {
		return nil, fmt.Errorf(`"buildFlags" has a ' without its other half`)
	}
	if inField {
		fields = append(fields, field.String())
	}
	return fields, nil
}
