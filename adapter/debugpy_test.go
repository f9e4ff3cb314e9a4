package adapter

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/dapclient"
)

// visitLinePython is the line of testdata/python/loop.py where count and doubled are set.
const visitLinePython = 9

// pythonPath finds a Python that has debugpy.
func pythonPath(t *testing.T) string {
	candidates := []string{os.Getenv("PODSTEP_TEST_PYTHON")}
	if cache, err := os.UserCacheDir(); err == nil {
		candidates = append(candidates, filepath.Join(cache, "podstep", "venv", "bin", "python"))
	}
	for _, python := range append(candidates, "python3") {
		if python != "" && exec.Command(python, "-c", "import debugpy").Run() == nil {
			path, err := exec.LookPath(python)
			check(t, err)
			return path
		}
	}
	t.Skip("no Python with debugpy: name one in PODSTEP_TEST_PYTHON (make venv)")
	return ""
}

// stoppedInDebugpy starts a session of testdata/python/loop.py that is stopped at its breakpoint.
func stoppedInDebugpy(t *testing.T, change func(*bench), more map[string]any) (b *bench, ctx context.Context, attributes map[string]any, breakpoints map[string][]int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "loop.py")
	source, err := os.ReadFile("testdata/python/loop.py")
	check(t, err)
	check(t, os.WriteFile(file, source, 0o644))
	attributes = map[string]any{
		"type": "debugpy", "request": "launch", "name": "loop", "program": file, "python": pythonPath(t), "console": "internalConsole",
		"mirror": map[string]any{"target": "process/1"},
	}
	maps.Copy(attributes, more)
	breakpoints = map[string][]int{file: {visitLinePython}}
	b, ctx = startSession(t, nil), patiently(t)
	b.borrow.env = map[string]string{"POD_NAME": "web-0", "MINE": "the pod's"}
	if change != nil {
		change(b)
	}
	b.initialize(ctx, "debugpy")
	check(t, b.Launch(ctx, attributes, breakpoints))
	b.stopped(ctx, map[string]string{"count": "1", "name": "'web-0'"})
	return b, ctx, attributes, breakpoints
}

func TestServeStopsAtABreakpointOfDebugpy(t *testing.T) {
	b, ctx, attributes, _ := stoppedInDebugpy(t, nil, map[string]any{"env": map[string]any{"MINE": "mine"}})
	b.variables(ctx, map[string]string{"mine": "'mine'"})
	if !slices.Equal(b.borrow.traced, []bool{false}) {
		t.Errorf("commands intercepted as %v, want the debuggee's alone", b.borrow.traced)
	}
	if !slices.Equal(b.borrow.pauses(), []bool{true}) {
		t.Errorf("pauses %v", b.borrow.pauses())
	}
	b.request(ctx, "continue", map[string]any{"threadId": b.thread})
	b.stopped(ctx, map[string]string{"count": "2"})
	if !slices.Equal(b.borrow.pauses(), []bool{true, false, true}) {
		t.Errorf("pauses %v", b.borrow.pauses())
	}
	if _, err := b.Output(ctx, "visit 1 2 web-0 mine\n"); err != nil {
		t.Error(err)
	}
	if b.Count("capabilities") != 0 {
		t.Error("the recorded capabilities are not those of this debugpy")
	}
	if raw := string(b.Heard()[0].Body); !strings.Contains(raw, "supportsDebuggerProperties") {
		t.Errorf("initialize %s for %v", raw, attributes)
	}
	b.request(ctx, "disconnect", map[string]any{"terminateDebuggee": true})
	b.over(nil)
}

func TestServeRestartsDebugpyTwice(t *testing.T) {
	b, ctx, attributes, breakpoints := stoppedInDebugpy(t, nil, nil)
	for range 2 {
		seq, err := b.Send("restart", map[string]any{"arguments": attributes})
		check(t, err)
		check(t, b.Configure(ctx, seq, breakpoints))
		_, err = b.Answer(ctx, seq)
		check(t, err)
		b.stopped(ctx, map[string]string{"count": "1"})
	}
	if n := b.Count("terminated") + b.Count("exited"); n != 0 {
		t.Errorf("the editor heard %d times of an end", n)
	}
	b.request(ctx, "terminate", nil)
	_, err := b.Event(ctx, "terminated")
	check(t, err)
	b.request(ctx, "disconnect", nil)
	b.over(nil)
}

func TestServeRunsDebugpyInATerminal(t *testing.T) {
	var terminal *exec.Cmd
	b, ctx, attributes, breakpoints := stoppedInDebugpy(t, func(b *bench) {
		b.borrow.env["PASSWORD"] = "hunter2"
		b.Handle("runInTerminal", func(m dapclient.Message) (any, error) {
			var request struct {
				Kind string             `json:"kind"`
				Args []string           `json:"args"`
				Cwd  string             `json:"cwd"`
				Env  map[string]*string `json:"env"`
			}
			if err := m.Decode(&request); err != nil {
				return nil, err
			}
			if request.Kind != "integrated" || strings.Contains(string(m.Arguments), "hunter2") {
				t.Errorf("runInTerminal %s", m.Arguments)
			}
			terminal = exec.Command(request.Args[0], request.Args[1:]...)
			terminal.Dir, terminal.Env = request.Cwd, append(os.Environ(), mark+"="+b.mark)
			for name, value := range request.Env {
				if value != nil {
					terminal.Env = append(terminal.Env, name+"="+*value)
				}
			}
			if err := terminal.Start(); err != nil {
				return nil, err
			}
			return map[string]any{"shellProcessId": terminal.Process.Pid}, nil
		})
	}, map[string]any{"console": "integratedTerminal"})
	first := terminal
	seq, err := b.Send("restart", map[string]any{"arguments": attributes})
	check(t, err)
	check(t, b.Configure(ctx, seq, breakpoints))
	b.stopped(ctx, map[string]string{"count": "1"})
	_ = first.Wait() // the terminal's first program is over, however it ended
	b.request(ctx, "disconnect", nil)
	_ = terminal.Wait() // its program ends with debugpy; here is no launcher that would see to that
	b.over(nil)
}

func TestServeEndsWithAPythonThatExits(t *testing.T) {
	b, ctx, _, breakpoints := stoppedInDebugpy(t, nil, map[string]any{"args": []string{"5"}})
	for file := range breakpoints {
		b.request(ctx, "setBreakpoints", map[string]any{"source": map[string]any{"path": file}, "breakpoints": []any{}})
	}
	b.request(ctx, "continue", map[string]any{"threadId": b.thread})
	exited, err := b.Event(ctx, "exited")
	check(t, err)
	if !strings.Contains(string(exited.Body), "3") {
		t.Errorf("exited %s", exited.Body)
	}
	_, err = b.Event(ctx, "terminated")
	check(t, err)
	testkit.Eventually(t, "the target is given back", func() bool { return b.borrow.times() == 1 })
	b.over(nil)
}

func TestServeSurvivesDebugpysDeath(t *testing.T) {
	b, ctx, _, _ := stoppedInDebugpy(t, nil, nil)
	check(t, syscall.Kill(b.commanded("debugpy.adapter"), syscall.SIGKILL))
	_, err := b.Event(ctx, "terminated")
	check(t, err)
	if out := b.Outputs(); !strings.Contains(out, "debugpy ended unexpectedly [podstep-4003]") {
		t.Errorf("outputs %q", out)
	}
	check(t, b.Close())
	b.over(nil)
}

func TestServeEndsWhenTheEditorOfDebugpyVanishes(t *testing.T) {
	b, _, _, _ := stoppedInDebugpy(t, nil, nil)
	check(t, b.Close())
	b.over(nil)
	if b.borrow.times() != 1 {
		t.Error("the target was not given back")
	}
}

func TestServeSaysHowToInstallDebugpy(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 on PATH")
	}
	bare := filepath.Join(t.TempDir(), "bare")
	check(t, os.WriteFile(bare, []byte("#!/bin/sh\nexec "+python+" -I -S \"$@\"\n"), 0o755)) // without site packages
	for name, test := range map[string]struct {
		python string
		hint   string
	}{
		"no debugpy": {bare, bare + " -m pip install debugpy"},
		"no python":  {"/nowhere/python", "\"python\""},
	} {
		t.Run(name, func(t *testing.T) {
			b, ctx := startSession(t, nil), patiently(t)
			b.initialize(ctx, "debugpy")
			_, err := b.Request(ctx, "launch", map[string]any{"program": "x.py", "python": test.python, "mirror": map[string]any{}})
			if f := failure(t, err); f.ID != int(fault.DebuggerMissing) || !strings.Contains(f.Format, test.hint) {
				t.Errorf("%+v", f)
			}
			b.request(ctx, "disconnect", nil)
			b.over(nil)
		})
	}
}
