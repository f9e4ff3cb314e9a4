package adapter

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// goProgram copies a program of testdata to a directory of its own and returns it.
func goProgram(t *testing.T, name string) string {
	dir := t.TempDir()
	check(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))))
	return dir
}

// dlvPath finds the real dlv.
func dlvPath(t *testing.T) string {
	path, err := exec.LookPath("dlv")
	if err != nil {
		t.Skip("dlv is not on PATH: make tools")
	}
	return path
}

func TestServeStopsAtABreakpointOfDlv(t *testing.T) {
	dlv, dir := dlvPath(t), goProgram(t, "loop")
	b := startSession(t, nil)
	b.borrow.env = map[string]string{"POD_NAME": "web-0"}
	ctx := patiently(t)
	_, err := b.Initialize(ctx, "go")
	check(t, err)
	check(t, b.Launch(ctx, map[string]any{
		"type": "go", "request": "launch", "mode": "debug", "program": dir, "dlvToolPath": dlv, "mirror": map[string]any{"target": "process/1"},
	}, map[string][]int{filepath.Join(dir, "main.go"): {12}}))
	stop, err := b.Stopped(ctx)
	check(t, err)
	frames, err := b.Frames(ctx, stop.ThreadID)
	check(t, err)
	vars, err := b.Variables(ctx, frames[0].ID)
	check(t, err)
	if vars["count"] != "1" || vars["doubled"] != "2" || vars["name"] != `"web-0"` {
		t.Errorf("variables %v", vars)
	}
	_, err = b.Request(ctx, "disconnect", map[string]any{})
	check(t, err)
	b.over(nil)
}
