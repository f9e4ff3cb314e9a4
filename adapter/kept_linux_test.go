package adapter

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestServeStartsDebuggersBelowTheKeeper uses the real podstep-launch, as Serve does by itself.
func TestServeStartsDebuggersBelowTheKeeper(t *testing.T) {
	programs := t.TempDir()
	build := exec.Command("go", "build", "-o", programs, "podstep.dev/launcher/cmd/podstep-launch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build podstep-launch: %v: %s", err, out)
	}
	t.Setenv("PATH", programs+string(os.PathListSeparator)+os.Getenv("PATH"))
	dir := goProgram(t, "loop")
	b, ctx := startSession(t, func(o *Options) { o.Start = nil }), patiently(t)
	b.initialize(ctx, "go")
	breakpoints := map[string][]int{filepath.Join(dir, "main.go"): {visitLine}}
	attributes := dlvLaunch(t, dir, nil)
	check(t, b.Launch(ctx, attributes, breakpoints))
	b.stopped(ctx, map[string]string{"count": "1"})
	if b.commanded("podstep-launch\x00keep") == b.process("dlv") {
		t.Error("no keeper above dlv")
	}
	seq, err := b.Send("restart", nil)
	check(t, err)
	check(t, b.Configure(ctx, seq, breakpoints))
	b.stopped(ctx, map[string]string{"count": "1"})
	b.request(ctx, "disconnect", nil)
	b.over(nil)
}
