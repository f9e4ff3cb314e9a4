package adapter

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/dapclient"
	"podstep.dev/internal/wire"
)

// visitLine is the line of testdata/loop/main.go where count and doubled are set.
const visitLine = 12

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

// dlvLaunch is a launch configuration for the program in dir, changed by more.
func dlvLaunch(t *testing.T, dir string, more map[string]any) map[string]any {
	attributes := map[string]any{
		"type": "go", "request": "launch", "name": "loop", "mode": "debug", "program": dir, "dlvToolPath": dlvPath(t),
		"mirror": map[string]any{"target": "process/1"},
	}
	for k, v := range more {
		attributes[k] = v
	}
	return attributes
}

// stoppedInDlv starts a session of testdata/loop that is stopped at its breakpoint.
func stoppedInDlv(t *testing.T, more map[string]any) (b *bench, ctx context.Context, attributes map[string]any, breakpoints map[string][]int) {
	t.Helper()
	dir := goProgram(t, "loop")
	b, ctx = startSession(t, nil), patiently(t)
	b.borrow.env = map[string]string{"POD_NAME": "web-0", "MINE": "the pod's"}
	b.initialize(ctx, "go")
	attributes, breakpoints = dlvLaunch(t, dir, more), map[string][]int{filepath.Join(dir, "main.go"): {visitLine}}
	check(t, b.Launch(ctx, attributes, breakpoints))
	b.stopped(ctx, map[string]string{"count": "1", "doubled": "2"})
	return b, ctx, attributes, breakpoints
}

func TestServeStopsAtABreakpointOfDlv(t *testing.T) {
	b, ctx, _, _ := stoppedInDlv(t, map[string]any{"env": map[string]any{"MINE": "mine"}})
	b.variables(ctx, map[string]string{"name": `"web-0"`, "mine": `"mine"`})
	if !slices.Equal(b.borrow.traced, []bool{true}) {
		t.Errorf("dlv ran intercepted as %v, want as one that traces", b.borrow.traced)
	}
	if diff := cmp.Diff([]bool{true}, b.borrow.pauses()); diff != "" {
		t.Errorf("pauses %s", diff)
	}
	b.request(ctx, "continue", map[string]any{"threadId": 1})
	b.stopped(ctx, map[string]string{"count": "2"})
	if diff := cmp.Diff([]bool{true, false, true}, b.borrow.pauses()); diff != "" {
		t.Errorf("pauses %s", diff)
	}
	if _, err := b.Output(ctx, "visit 1 2 web-0 mine\n"); err != nil {
		t.Error(err)
	}
	status := b.request(ctx, "podstep/status", nil)
	var state struct {
		State, Debugger string
		Paused          bool
		Borrow          struct{ Target string }
	}
	check(t, status.Decode(&state))
	if state.State != "running" || state.Debugger != "dlv" || !state.Paused || state.Borrow.Target != "process/1" {
		t.Errorf("status %s", status.Body)
	}
	b.request(ctx, "disconnect", map[string]any{})
	b.over(nil)
	if n := b.Count("terminated"); n != 1 {
		t.Errorf("terminated %d times", n)
	}
	if b.Count("progressStart") != 1 || b.Count("progressEnd") != 1 || b.Count("capabilities") != 0 {
		t.Errorf("progress %d to %d, capabilities %d", b.Count("progressStart"), b.Count("progressEnd"), b.Count("capabilities"))
	}
}

func TestScopesOfDlvHaveTheRequest(t *testing.T) {
	b, ctx, _, _ := stoppedInDlv(t, nil)
	r := b.borrow.log.Begin(wire.Header{Port: 80, Protocol: wire.HTTP1})
	r.Request([]byte("GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n"))
	r.Went(requests.Debuggee, "")
	b.variables(ctx, map[string]string{"count": "1", "#1": ""}) // it came when the debugger was stopped already
	b.request(ctx, "continue", map[string]any{"threadId": 1})
	b.stopped(ctx, map[string]string{"count": "2", "#1": "GET /cart"})
	r.End(nil)
	b.variables(ctx, map[string]string{"count": "2", "#1": ""})
	b.request(ctx, "disconnect", map[string]any{})
	b.over(nil)
}

func TestServeKeepsThePauseDuringAShortStep(t *testing.T) {
	b, ctx, _, _ := stoppedInDlv(t, nil)
	b.request(ctx, "next", map[string]any{"threadId": 1})
	b.stopped(ctx, nil)
	b.request(ctx, "stepOut", map[string]any{"threadId": 1})
	b.stopped(ctx, nil)
	if diff := cmp.Diff([]bool{true}, b.borrow.pauses()); diff != "" {
		t.Errorf("pauses %s", diff)
	}
	check(t, b.Close()) // the editor vanishes
	b.over(nil)
}

func TestServeRestartsDlvTwice(t *testing.T) {
	b, ctx, attributes, breakpoints := stoppedInDlv(t, nil)
	for range 2 {
		seq, err := b.Send("restart", map[string]any{"arguments": attributes})
		check(t, err)
		check(t, b.Configure(ctx, seq, breakpoints))
		_, err = b.Answer(ctx, seq)
		check(t, err)
		b.stopped(ctx, map[string]string{"count": "1"}) // a new process counts from one
	}
	if n := b.Count("terminated") + b.Count("exited"); n != 0 {
		t.Errorf("the editor heard %d times of an end", n)
	}
	b.request(ctx, "disconnect", map[string]any{"terminateDebuggee": true})
	b.over(nil)
	if b.borrow.closed != 1 {
		t.Errorf("the target was given back %d times", b.borrow.closed)
	}
}

func TestServeRestartWithTheNewSource(t *testing.T) {
	b, ctx, attributes, breakpoints := stoppedInDlv(t, nil)
	file := filepath.Join(attributes["program"].(string), "main.go")
	source, err := os.ReadFile(file)
	check(t, err)
	check(t, os.WriteFile(file, []byte("package main\nfunc main() { undefined() }\n"), 0o644))
	_, err = b.Request(ctx, "restart", map[string]any{"arguments": attributes})
	if f := failure(t, err); f.ID != int(fault.BuildFailed) || !f.Shown {
		t.Errorf("%+v", f)
	}
	b.variables(ctx, map[string]string{"count": "1"}) // the old program still stands there
	check(t, os.WriteFile(file, []byte(strings.Replace(string(source), "count * 2", "count * 7", 1)), 0o644))
	seq, err := b.Send("restart", nil)
	check(t, err)
	check(t, b.Configure(ctx, seq, breakpoints))
	b.stopped(ctx, map[string]string{"count": "1", "doubled": "7"})
	b.request(ctx, "terminate", nil)
	_, err = b.Event(ctx, "terminated")
	check(t, err)
	b.request(ctx, "disconnect", nil)
	b.over(nil)
}

func TestServeEndsWithTheDebuggee(t *testing.T) {
	b, ctx, _, breakpoints := stoppedInDlv(t, nil)
	for file := range breakpoints {
		b.request(ctx, "setBreakpoints", map[string]any{"source": map[string]any{"path": file}, "breakpoints": []any{}})
	}
	b.request(ctx, "continue", map[string]any{"threadId": 1})
	check(t, syscall.Kill(b.process("debuggee-1"), syscall.SIGKILL))
	_, err := b.Event(ctx, "terminated")
	check(t, err)
	// An editor that says nothing more keeps neither the target nor the session.
	testkit.Eventually(t, "the target is given back", func() bool { return b.borrow.times() == 1 })
	b.over(nil)
}

func TestServeSurvivesTheDebuggersDeath(t *testing.T) {
	b, ctx, _, _ := stoppedInDlv(t, nil)
	check(t, syscall.Kill(b.process("dlv"), syscall.SIGKILL))
	_, err := b.Event(ctx, "terminated")
	check(t, err)
	if out := b.Outputs(); !strings.Contains(out, "dlv ended unexpectedly [podstep-4003]") {
		t.Errorf("outputs %q", out)
	}
	testkit.Eventually(t, "the target is given back", func() bool { return b.borrow.times() == 1 })
	b.request(ctx, "disconnect", nil)
	b.over(nil)
}

func TestServeSurvivesADebuggerThatHangs(t *testing.T) {
	b, ctx, _, _ := stoppedInDlv(t, nil)
	check(t, syscall.Kill(b.process("dlv"), syscall.SIGSTOP))
	_, err := b.Send("threads", nil)
	check(t, err)
	b.request(ctx, "disconnect", nil)
	b.over(nil)
}

func TestServeEndsWhenTheBorrowIsLost(t *testing.T) {
	b, ctx, _, _ := stoppedInDlv(t, nil)
	lost := fault.New(fault.LinkLost, "the link to the agent was lost", nil)
	b.borrow.lose(lost)
	_, err := b.Event(ctx, "terminated")
	check(t, err)
	if out := b.Outputs(); !strings.Contains(out, "[podstep-3004]") {
		t.Errorf("outputs %q", out)
	}
	b.over(lost)
}

func TestServeEndsWithItsContext(t *testing.T) {
	b, ctx, _, _ := stoppedInDlv(t, nil)
	why := errors.New("terminated by signal")
	b.cancel(why)
	_, err := b.Event(ctx, "terminated")
	check(t, err)
	b.over(why)
}

func TestServeRunsATestWithDlv(t *testing.T) {
	for form, program := range map[string]string{"directory": ".", "file": "tested_test.go"} {
		t.Run(form, func(t *testing.T) {
			dir := goProgram(t, "tested")
			b, ctx := startSession(t, nil), patiently(t)
			b.initialize(ctx, "podstep")
			check(t, b.Launch(ctx, dlvLaunch(t, filepath.Join(dir, program), map[string]any{"mode": "test"}), map[string][]int{filepath.Join(dir, "tested.go"): {7}}))
			b.stopped(ctx, map[string]string{"doubled": "42"})
			b.request(ctx, "continue", map[string]any{"threadId": 1})
			if _, err := b.Output(ctx, "PASS"); err != nil {
				t.Error(err)
			}
			b.request(ctx, "disconnect", nil)
			b.over(nil)
			if b.Count("capabilities") != 1 {
				t.Errorf("an editor that did not say which debugger it wants heard %d capabilities events", b.Count("capabilities"))
			}
		})
	}
}

func TestServeWithoutDebuggingRunsTheProgram(t *testing.T) {
	dir := goProgram(t, "loop")
	b, ctx := startSession(t, nil), patiently(t)
	b.initialize(ctx, "go")
	seq, err := b.Send("launch", dlvLaunch(t, dir, map[string]any{"noDebug": true}))
	check(t, err)
	_, err = b.Answer(ctx, seq)
	check(t, err)
	if _, err := b.Output(ctx, "visit 3 6"); err != nil {
		t.Error(err)
	}
	if !slices.Equal(b.borrow.traced, []bool{false}) {
		t.Errorf("intercepted as %v, want whole: dlv traces nothing", b.borrow.traced)
	}
	b.request(ctx, "disconnect", nil)
	b.over(nil)
}

func TestServeFailsTheLaunchWithOneFault(t *testing.T) {
	broken := goProgram(t, "loop")
	check(t, os.WriteFile(filepath.Join(broken, "main.go"), []byte("package main\n\nfunc main() { undefined() }\n"), 0o644))
	for name, test := range map[string]struct {
		more    map[string]any
		options func(*Options)
		id      fault.ID
		output  string
	}{
		"build":       {more: map[string]any{"program": broken}, id: fault.BuildFailed, output: "./main.go:3:15: undefined: undefined\n"},
		"no program":  {more: map[string]any{"program": nil}, id: fault.BadConfig},
		"no dlv":      {more: map[string]any{"dlvToolPath": "/nowhere/dlv"}, id: fault.DebuggerMissing},
		"build flags": {more: map[string]any{"buildFlags": 7}, id: fault.BadConfig},
		"env":         {more: map[string]any{"env": []string{"A=B"}}, id: fault.BadConfig},
		"mode":        {more: map[string]any{"mode": "core"}, id: fault.BadConfig},
		"dlv flags":   {more: map[string]any{"dlvFlags": []string{"--no-such-flag"}}, id: fault.DebuggerStart, output: "unknown flag: --no-such-flag"},
		"debugger":    {more: map[string]any{"debugger": "gdb"}, id: fault.UnknownDebugger},
		"borrow": {options: func(o *Options) {
			o.Begin = func(context.Context, Wish) (Borrow, error) {
				return nil, fault.New(fault.NoTarget, "there is no process 1", nil)
			}
		}, id: fault.NoTarget},
	} {
		t.Run(name, func(t *testing.T) {
			b, ctx := startSession(t, test.options), patiently(t)
			b.initialize(ctx, "go")
			_, err := b.Request(ctx, "launch", dlvLaunch(t, goProgram(t, "loop"), test.more))
			f := failure(t, err)
			if f.ID != int(test.id) || !f.Shown || !strings.Contains(f.Format, "[podstep-") || !strings.Contains(f.Format, "\n") {
				t.Errorf("%+v", f)
			}
			if !strings.Contains(b.Outputs(), test.output) {
				t.Errorf("outputs %q lack %q", b.Outputs(), test.output)
			}
			b.request(ctx, "disconnect", nil)
			b.over(nil)
		})
	}
}

// TestServeLooksForTheDebuggerBeforeItBorrows : what cannot work is refused before anything is touched.
func TestServeLooksForTheDebuggerBeforeItBorrows(t *testing.T) {
	for name, more := range map[string]map[string]any{
		"no dlv":    {"dlvToolPath": "/nowhere/dlv"},
		"no python": {"type": "debugpy", "python": "/nowhere/python"},
		"env":       {"env": []string{"A=B"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, ctx := startSession(t, func(o *Options) {
				o.Begin = func(context.Context, Wish) (Borrow, error) {
					return nil, fault.New(fault.NoTarget, "it was borrowed", nil)
				}
			}), patiently(t)
			b.initialize(ctx, "go")
			_, err := b.Request(ctx, "launch", dlvLaunch(t, goProgram(t, "loop"), more))
			if f := failure(t, err); f.ID == int(fault.NoTarget) {
				t.Error(f.Format)
			}
			b.request(ctx, "disconnect", nil)
			b.over(nil)
		})
	}
}

func TestServeCancelsABorrowThatTakesLong(t *testing.T) {
	cancelled := make(chan error, 1)
	b, ctx := startSession(t, func(o *Options) {
		o.Begin = func(ctx context.Context, w Wish) (Borrow, error) {
			w.Say("waiting for the pod")
			<-ctx.Done()
			cancelled <- context.Cause(ctx)
			return nil, context.Cause(ctx)
		}
	}), patiently(t)
	b.initialize(ctx, "go")
	launch, err := b.Send("launch", dlvLaunch(t, t.TempDir(), nil))
	check(t, err)
	_, err = b.Event(ctx, "progressUpdate")
	check(t, err)
	b.request(ctx, "cancel", map[string]any{"progressId": "podstep-1"})
	_, err = b.Answer(ctx, launch)
	if f := failure(t, err); f.Shown {
		t.Errorf("the person cancelled and is told so: %+v", f)
	}
	_, err = b.Event(ctx, "terminated")
	check(t, err)
	<-cancelled
	b.request(ctx, "disconnect", nil)
	b.over(nil)
}

func failure(t *testing.T, err error) *dapclient.Failure {
	t.Helper()
	var f *dapclient.Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a failure", err)
	}
	return f
}
