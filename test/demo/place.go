package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"podstep.dev/internal/program"
)

// place is where things are.
type place struct {
	// root of the module, scratch for what the demo makes.
	root, scratch string
	podstep, dlv  string
	shop, stock   string
	// source of the shop, and the line to stop in.
	source string
	line   int
	lines  []string
}

// breakpointMark ends the line that the demo stops in.
const breakpointMark = "// <- the demo's breakpoint"

// findPlace looks for the programs and builds the pod's services into scratch.
func findPlace(ctx context.Context, scratch string) (place, error) {
	p := place{scratch: scratch, shop: filepath.Join(scratch, "shop"), stock: filepath.Join(scratch, "stock")}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "podstep.dev").Output()
	if err != nil {
		return p, fmt.Errorf("find the module: run the demo below it: %w", err)
	}
	p.root = strings.TrimSpace(string(out))
	p.podstep = filepath.Join(p.root, "bin", "podstep")
	for _, name := range []string{"podstep", program.Launcher, program.Agent} {
		if _, err := os.Stat(filepath.Join(p.root, "bin", name)); err != nil {
			return p, fmt.Errorf("%w: run make build first", err)
		}
	}
	if p.dlv, err = findDlv(p.root); err != nil {
		return p, err
	}
	p.source = filepath.Join(p.root, "test", "debuggees", "go", "shop", "main.go")
	if err := p.findLine(); err != nil {
		return p, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", scratch, "./test/debuggees/go/shop", "./test/debuggees/go/stock")
	build.Dir = p.root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return p, fmt.Errorf("build the shop: %w\n%s", err, out)
	}
	return p, nil
}

func findDlv(root string) (string, error) {
	built := filepath.Join(root, "build", "tools", "dlv")
	if _, err := os.Stat(built); err == nil {
		return built, nil
	}
	path, err := exec.LookPath("dlv")
	if err != nil {
		return "", errors.New("dlv is neither in build/tools nor on PATH: run make tools first")
	}
	return filepath.Abs(path)
}

func (p *place) findLine() error {
	text, err := os.ReadFile(p.source)
	if err != nil {
		return err
	}
	p.lines = strings.Split(string(text), "\n")
	for i, line := range p.lines {
		if strings.HasSuffix(line, breakpointMark) {
			p.line, p.lines[i] = i+1, strings.TrimSpace(strings.TrimSuffix(line, breakpointMark))
			return nil
		}
	}
	return fmt.Errorf("%s has no line that ends in %q", p.source, breakpointMark)
}

// around is a line of the source with its neighbours, as they are shown.
func (p *place) around(line int) []string {
	var shown []string
	for n := line - 1; n <= line+1; n++ {
		text := ""
		if 0 < n && n <= len(p.lines) {
			text = strings.TrimSpace(p.lines[n-1])
		}
		shown = append(shown, text)
	}
	return shown
}

// relative is a path as it is shown.
func (p *place) relative(path string) string {
	if short, err := filepath.Rel(p.root, path); err == nil && !strings.HasPrefix(short, "..") {
		return short
	}
	return path
}
