//go:build linux

package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/dapclient"
)

// lineOf returns the line of file that contains text.
func lineOf(t *testing.T, file, text string) int {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(source), "\n") {
		if strings.Contains(line, text) {
			return i + 1
		}
	}
	t.Fatalf("%s has no line with %q", file, text)
	return 0
}

// python is an interpreter with debugpy.
func python(t *testing.T) string {
	t.Helper()
	for _, p := range []string{os.Getenv("PODSTEP_TEST_PYTHON"), filepath.Join(root(), "build/venv/bin/python"), "python3"} {
		if p != "" && exec.Command(p, "-c", "import debugpy").Run() == nil {
			return p
		}
	}
	t.Skip("no Python with debugpy: make venv")
	return ""
}

// dlvAttributes launch the shop's source under dlv, which podstep builds.
func (s *stage) dlvAttributes() map[string]any {
	return map[string]any{
		"type": "go", "request": "launch", "mode": "debug", "program": filepath.Join(root(), "test/debuggees/go/shop"),
		"env": map[string]string{"ANSWERED_BY": "debuggee", "SHOP_PORT": "8080"}, "mirror": s.steal(),
	}
}

// debugpyAttributes launch the shop in Python.
func (s *stage) debugpyAttributes(console string) map[string]any {
	return map[string]any{
		"type": "debugpy", "request": "launch", "program": filepath.Join(root(), "test/debuggees/python/shop.py"),
		"python": []string{python(s.t)}, "console": console, "justMyCode": true,
		"env": map[string]string{"ANSWERED_BY": "debuggee", "SHOP_PORT": "8080"}, "mirror": s.steal(),
	}
}

// terminal plays the editor's: what is run in it is no descendant of podstep.
func (s *stage) terminal(d *session) (commands *[]string) {
	commands = &[]string{}
	d.Handle("runInTerminal", func(m dapclient.Message) (any, error) {
		var request struct {
			Cwd  string
			Args []string
			Env  map[string]string
		}
		if err := m.Decode(&request); err != nil {
			return nil, err
		}
		cmd := exec.Command(request.Args[0], request.Args[1:]...)
		cmd.Dir, cmd.Env = request.Cwd, append(os.Environ(), "XDG_RUNTIME_DIR="+s.runtime, s.mark)
		for name, value := range request.Env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		*commands = append(slices.Clone(request.Args), slices.Collect(maps.Values(request.Env))...)
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		go func() { _ = cmd.Wait() }()
		return map[string]int{"shellProcessId": os.Getpid()}, nil
	})
	return commands
}

// TestBreakpointStopsOnStolenRequest is the main job, with every debugger and console: a stolen request stops, its
// variables are there, others are answered by the target meanwhile, and then its client gets the debuggee's answer.
func TestBreakpointStopsOnStolenRequest(t *testing.T) {
	goShop, pyShop := filepath.Join(root(), "test/debuggees/go/shop/main.go"), filepath.Join(root(), "test/debuggees/python/shop.py")
	cases := []struct {
		name, adapterID, file, line string
		attributes                  func(*stage) map[string]any
		id, client                  string // variables
	}{
		{"dlv", "go", goShop, "<- the demo's breakpoint", (*stage).dlvAttributes, "id", "client"},
		{"debugpy", "debugpy", pyShop, "<- a good place", func(s *stage) map[string]any { return s.debugpyAttributes("internalConsole") }, "cart_id", "client"},
		{"debugpy in a terminal", "debugpy", pyShop, "<- a good place", func(s *stage) map[string]any { return s.debugpyAttributes("integratedTerminal") }, "cart_id", "client"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			attributes := c.attributes(s)
			d := s.start(c.adapterID)
			commands := s.terminal(d)
			if err := d.Launch(s.ctx, attributes, map[string][]int{c.file: {lineOf(t, c.file, c.line)}}); err != nil {
				t.Fatalf("%v\n%s", err, d.Outputs())
			}
			stop, err := d.Stopped(s.ctx)
			if err != nil {
				t.Fatalf("%v\n%s", err, d.Outputs())
			}
			stopped := time.Now()
			s.await("the target answers while the debugger is stopped", stopped, by("target"))
			frames, err := d.Frames(s.ctx, stop.ThreadID)
			if err != nil {
				t.Fatal(err)
			}
			variables, err := d.Variables(s.ctx, frames[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Trim(variables[c.client], `"'`); !strings.HasPrefix(got, clientAddress+":") {
				t.Errorf("the debuggee sees the client as %q, want %s:PORT", got, clientAddress)
			}
			id := strings.Trim(variables[c.id], `"'`)
			clearBreakpoints(t, s, d, c.file)
			if _, err := d.Request(s.ctx, "continue", map[string]any{"threadId": stop.ThreadID}); err != nil {
				t.Fatal(err)
			}
			// The very request that stopped is answered by the debuggee; its price came from a name of the pod.
			s.await("the stopped request is answered by the debuggee", time.Time{}, func(r request) bool {
				return r.By == "debuggee" && r.Took > 0 && r.Price > 0 && r.ended().After(stopped) && r.Began.Before(stopped)
			})
			s.await("the debuggee answers again", time.Now(), by("debuggee"))
			if strings.Contains(strings.Join(*commands, " "), "orange") {
				t.Error("the pod's environment is in the terminal's command")
			}
			if id == "" {
				t.Errorf("no variable %s: %v", c.id, variables)
			}
			restartOnce(t, s, d)
			if _, err := d.Request(s.ctx, "disconnect", map[string]any{}); err != nil {
				t.Error(err)
			}
			s.await("the target answers", time.Now(), by("target"))
			<-d.exited
			s.cleared()
		})
	}
}

func clearBreakpoints(t *testing.T, s *stage, d *session, file string) {
	t.Helper()
	arguments := map[string]any{"source": map[string]any{"path": file}, "breakpoints": []any{}}
	if _, err := d.Request(s.ctx, "setBreakpoints", arguments); err != nil {
		t.Fatal(err)
	}
}

// restartOnce restarts the debuggee: the target answers meanwhile, and no request fails for want of somebody who listens.
func restartOnce(t *testing.T, s *stage, d *session) {
	t.Helper()
	terminated := d.Count("terminated")
	began := time.Now()
	restart, err := d.Send("restart", map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Configure(s.ctx, restart, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Answer(s.ctx, restart); err != nil {
		t.Fatal(err)
	}
	between := s.await("the target answers during the restart", began, by("target"))
	s.await("the debuggee answers after the restart", between.Began, by("debuggee"))
	if got := d.Count("terminated"); got != terminated {
		t.Errorf("a restart sent terminated to the editor")
	}
	t.Logf("restart to the debuggee's first answer: %v", time.Since(began).Round(time.Millisecond))
}

// TestDebuggeeGetsEnvironmentAndHostname reads what the debuggee sees, with what the person set kept.
func TestDebuggeeGetsEnvironmentAndHostname(t *testing.T) {
	s := newStage(t)
	script := filepath.Join(t.TempDir(), "see.py")
	source := "import os, socket, json\nprint('SEEN ' + json.dumps([os.environ.get('SHOP_COLOUR'), os.environ.get('ANSWERED_BY'), socket.gethostname(), os.environ.get('LOG')]), flush=True)\n"
	if err := os.WriteFile(script, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	d := s.start("debugpy")
	mirror := map[string]any{"target": s.target(), "incoming": map[string]any{"mode": "off"}, "env": map[string]any{"override": map[string]string{"LOG": "debug"}}}
	attributes := map[string]any{"type": "debugpy", "request": "launch", "program": script, "python": []string{python(t)}, "console": "internalConsole",
		"env": map[string]string{"ANSWERED_BY": "me"}, "mirror": mirror}
	if err := d.Launch(s.ctx, attributes, nil); err != nil {
		t.Fatal(err)
	}
	out, err := d.Output(s.ctx, "SEEN ")
	if err != nil {
		t.Fatal(err)
	}
	if want := `SEEN ["orange", "me", "shop-7d9f", "debug"]`; !strings.Contains(out, want) {
		t.Errorf("the debuggee printed %q, want %s", out, want)
	}
	if _, err := d.Event(s.ctx, "terminated"); err != nil {
		t.Error(err)
	}
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
	<-d.exited
	s.cleared()
}

// TestMirrorGivesACopy : the target goes on answering every request and the debuggee gets each one too.
func TestMirrorGivesACopy(t *testing.T) {
	s := newStage(t)
	d := s.start("go")
	attributes := s.dlvAttributes()
	attributes["mode"], attributes["program"] = "exec", filepath.Join(kit, "shop")
	attributes["mirror"] = map[string]any{"target": s.target(), "incoming": map[string]any{"ports": map[string]int{"80": 8080}}}
	file := filepath.Join(root(), "test/debuggees/go/shop/main.go")
	if err := d.Launch(s.ctx, attributes, map[string][]int{file: {lineOf(t, file, "<- the demo's breakpoint")}}); err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	began := time.Now()
	stop, err := d.Stopped(s.ctx)
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	frames, err := d.Frames(s.ctx, stop.ThreadID)
	if err != nil {
		t.Fatal(err)
	}
	variables, err := d.Variables(s.ctx, frames[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Trim(variables["client"], `"`); !strings.HasPrefix(got, clientAddress+":") {
		t.Errorf("the debuggee sees the client as %q, want %s:PORT", got, clientAddress)
	}
	s.await("the target answers", began, by("target"))
	if tables := s.tables(); tables != "" {
		t.Errorf("a mirror made rules: %s", tables)
	}
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
	<-d.exited
	if failed := s.client.failed(began); len(failed) > 0 {
		t.Errorf("%d requests failed%s", len(failed), summary(failed))
	}
	if r, ok := s.client.first(began, by("debuggee")); ok {
		t.Errorf("the debuggee answered a mirrored request: %+v", r)
	}
	s.cleared()
}

// TestFaultsAreOneAnswer : what cannot work is one failed launch with an id and a hint, and nothing is left.
func TestFaultsAreOneAnswer(t *testing.T) {
	s := newStage(t)
	self := map[string]any{"target": "process/1"}
	cases := []struct {
		name   string
		change func(attributes map[string]any)
		id     fault.ID
		text   string
	}{
		{"unknown key", func(a map[string]any) { a["mirror"] = map[string]any{"target": s.target(), "incomming": 1} }, fault.BadConfig, `"incoming"`},
		{"port out of range", func(a map[string]any) {
			a["mirror"] = map[string]any{"target": s.target(), "incoming": map[string]any{"ports": map[string]int{"80": 70000}}}
		}, fault.BadConfig, "65535"},
		{"no such process", func(a map[string]any) { a["mirror"] = map[string]any{"target": "process/4194303"} }, fault.NoTarget, "4194303"},
		{"shared network", func(a map[string]any) { a["mirror"] = self }, 0, "process"},
		{"missing debugger", func(a map[string]any) { a["dlvToolPath"] = "/nonexistent/dlv" }, fault.DebuggerMissing, "go install"},
		{"unknown debugger", func(a map[string]any) { a["debugger"] = "turbo" }, fault.UnknownDebugger, "turbo"},
		{"build error", func(a map[string]any) {
			dir := t.TempDir()
			_ = os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module broken\n"), 0o644)
			_ = os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\nfunc main() { nothing() }\n"), 0o644)
			a["mode"], a["program"], a["cwd"] = "debug", dir, dir
		}, fault.BuildFailed, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := s.start("go")
			attributes := map[string]any{"type": "go", "request": "launch", "mode": "exec", "program": filepath.Join(kit, "shop"), "mirror": s.steal()}
			c.change(attributes)
			err := d.Launch(s.ctx, attributes, nil)
			var failure *dapclient.Failure
			if !errors.As(err, &failure) {
				t.Fatalf("launch: %v, want a failure", err)
			}
			if c.id != 0 && failure.ID != int(c.id) || !strings.Contains(failure.Format, c.text) {
				t.Errorf("failure %d %q, want %d with %q", failure.ID, failure.Format, c.id, c.text)
			}
			if _, known := fault.Lookup(fault.ID(failure.ID)); !known {
				t.Errorf("failure %d is in no catalogue", failure.ID)
			}
			_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
			<-d.exited
			s.cleared()
		})
	}
}

// TestPortHasOneThief : a second session is told who holds the port, and the first goes on undisturbed.
func TestPortHasOneThief(t *testing.T) {
	s := newStage(t)
	first := s.launchShop()
	d := s.start("go")
	attributes := map[string]any{"type": "go", "request": "launch", "mode": "exec", "program": filepath.Join(kit, "shop"), "mirror": s.steal()}
	began := time.Now()
	err := d.Launch(s.ctx, attributes, nil)
	var failure *dapclient.Failure
	if !errors.As(err, &failure) || failure.ID != int(fault.PortTaken) || !strings.Contains(failure.Format, "@") {
		t.Errorf("second thief: %v, want fault %d that names the holder", err, fault.PortTaken)
	}
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
	<-d.exited
	s.await("the first session's debuggee answers", began, by("debuggee"))
	_, _ = first.Request(s.ctx, "disconnect", map[string]any{})
	<-first.exited
	s.cleared()
}

// TestRunPassesSignalsAndStatus : a run is the same session without a debugger.
func TestRunPassesSignalsAndStatus(t *testing.T) {
	s := newStage(t)
	cmd := s.command("run", "--target", s.target(), "--steal", "80:8080", "--env", "ANSWERED_BY=debuggee", "--env", "SHOP_PORT=8080", "--", filepath.Join(kit, "shop"))
	var out testkit.Output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.await("the command answers", time.Now(), by("debuggee"))
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 130 {
		t.Errorf("exit status %d (%v), want 130: Go ends by SIGINT\n%s", status, err, out.String())
	}
	s.cleared()
	var answer bytes.Buffer
	curl := s.command("run", "--target", s.target(), "--", "curl", "-sS", "--max-time", "10", "http://stock:81/price/1")
	curl.Stdout, curl.Stderr = &answer, os.Stderr
	if err := curl.Run(); err != nil {
		t.Errorf("curl of a name of the pod: %v", err)
	}
	var price int
	if json.Unmarshal(bytes.TrimSpace(answer.Bytes()), &price) != nil || price == 0 {
		t.Errorf("the stock said %q", answer.String())
	}
	if err := s.command("run", "--target", s.target(), "--", "sh", "-c", "exit 7").Run(); err == nil || err.Error() != "exit status 7" {
		t.Errorf("exit 7: %v", err)
	}
	testkit.Eventually(t, "the session is gone", func() bool { return s.leftover() == "" })
}
