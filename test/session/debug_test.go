//go:build linux

package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/dapclient"
	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

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
		"python": []string{s.Python(root())}, "console": console, "justMyCode": true,
		"env": map[string]string{"ANSWERED_BY": "debuggee", "SHOP_PORT": "8080"}, "mirror": s.steal(),
	}
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
			d := s.Start(c.adapterID)
			commands := d.Terminal()
			if err := d.Launch(s.ctx, attributes, map[string][]int{c.file: {desk.LineOf(t, c.file, c.line)}}); err != nil {
				t.Fatalf("%v\n%s", err, d.Outputs())
			}
			stop, err := d.Stopped(s.ctx)
			if err != nil {
				t.Fatalf("%v\n%s", err, d.Outputs())
			}
			stopped := time.Now()
			s.await("the target answers while the debugger is stopped", stopped, visit.By("target"))
			variables, err := d.TopVariables(s.ctx, stop.ThreadID)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Trim(variables[c.client], `"'`); !strings.HasPrefix(got, clientAddress+":") {
				t.Errorf("the debuggee sees the client as %q, want %s:PORT", got, clientAddress)
			}
			id := strings.Trim(variables[c.id], `"'`)
			if err := errors.Join(d.ClearBreakpoints(s.ctx, c.file), d.Resume(s.ctx, stop.ThreadID)); err != nil {
				t.Fatal(err)
			}
			// The very request that stopped is answered by the debuggee; its price came from a name of the pod.
			s.await("the stopped request is answered by the debuggee", time.Time{}, func(r visit.Request) bool {
				return r.By == "debuggee" && r.Took > 0 && r.Price > 0 && r.Ended().After(stopped) && r.Began.Before(stopped)
			})
			s.await("the debuggee answers again", time.Now(), visit.By("debuggee"))
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
			s.await("the target answers", time.Now(), visit.By("target"))
			<-d.Exited
			s.cleared()
		})
	}
}

// restartOnce restarts the debuggee: the target answers meanwhile, and no request fails for want of somebody who listens.
func restartOnce(t *testing.T, s *stage, d *desk.Session) {
	t.Helper()
	terminated := d.Count("terminated")
	began := time.Now()
	if err := d.Restart(s.ctx); err != nil {
		t.Fatal(err)
	}
	between := s.await("the target answers during the restart", began, visit.By("target"))
	s.await("the debuggee answers after the restart", between.Began, visit.By("debuggee"))
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
	d := s.Start("debugpy")
	mirror := map[string]any{"target": s.target(), "incoming": map[string]any{"mode": "off"}, "env": map[string]any{"override": map[string]string{"LOG": "debug"}}}
	attributes := map[string]any{"type": "debugpy", "request": "launch", "program": script, "python": []string{s.Python(root())}, "console": "internalConsole",
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
	<-d.Exited
	s.cleared()
}

// TestMirrorGivesACopy : the target goes on answering every request and the debuggee gets each one too.
func TestMirrorGivesACopy(t *testing.T) {
	s := newStage(t)
	d := s.Start("go")
	attributes := s.dlvAttributes()
	attributes["mode"], attributes["program"] = "exec", filepath.Join(kit, "shop")
	attributes["mirror"] = map[string]any{"target": s.target(), "incoming": map[string]any{"ports": map[string]int{"80": 8080}}}
	file := filepath.Join(root(), "test/debuggees/go/shop/main.go")
	if err := d.Launch(s.ctx, attributes, map[string][]int{file: {desk.LineOf(t, file, "<- the demo's breakpoint")}}); err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	began := time.Now()
	stop, err := d.Stopped(s.ctx)
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	variables, err := d.TopVariables(s.ctx, stop.ThreadID)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Trim(variables["client"], `"`); !strings.HasPrefix(got, clientAddress+":") {
		t.Errorf("the debuggee sees the client as %q, want %s:PORT", got, clientAddress)
	}
	if r := theRequest(t, s, d, stop.ThreadID); r["method"] != "GET" || !strings.HasPrefix(r["peer"], clientAddress+":") {
		t.Errorf("the scope's request is %v, want the copy", r)
	}
	var listed struct{ Requests []requests.Summary }
	decode(t, s, d, &listed, "podstep/requests", map[string]any{})
	if len(listed.Requests) == 0 || listed.Requests[0].Went != requests.Copy {
		t.Errorf("listed %+v, want copies", listed)
	}
	s.await("the target answers", began, visit.By("target"))
	if tables := s.tables(); tables != "" {
		t.Errorf("a mirror made rules: %s", tables)
	}
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
	<-d.Exited
	if failed := s.client.Failed(began); len(failed) > 0 {
		t.Errorf("%d requests failed%s", len(failed), visit.Summary(failed))
	}
	if r, ok := s.client.First(began, visit.By("debuggee")); ok {
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
			d := s.Start("go")
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
			<-d.Exited
			s.cleared()
		})
	}
}

// TestPortHasOneThief : a second session is told who holds the port, and the first goes on undisturbed.
func TestPortHasOneThief(t *testing.T) {
	s := newStage(t)
	first := s.launchShop()
	d := s.Start("go")
	attributes := map[string]any{"type": "go", "request": "launch", "mode": "exec", "program": filepath.Join(kit, "shop"), "mirror": s.steal()}
	began := time.Now()
	err := d.Launch(s.ctx, attributes, nil)
	var failure *dapclient.Failure
	if !errors.As(err, &failure) || failure.ID != int(fault.PortTaken) || !strings.Contains(failure.Format, "@") {
		t.Errorf("second thief: %v, want fault %d that names the holder", err, fault.PortTaken)
	}
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
	<-d.Exited
	s.await("the first session's debuggee answers", began, visit.By("debuggee"))
	_, _ = first.Request(s.ctx, "disconnect", map[string]any{})
	<-first.Exited
	s.cleared()
}

// TestRunPassesSignalsAndStatus : a run is the same session without a debugger.
func TestRunPassesSignalsAndStatus(t *testing.T) {
	s := newStage(t)
	cmd := s.Command("run", "--target", s.target(), "--steal", "80:8080", "--env", "ANSWERED_BY=debuggee", "--env", "SHOP_PORT=8080", "--", filepath.Join(kit, "shop"))
	var out testkit.Output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.await("the command answers", time.Now(), visit.By("debuggee"))
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 130 {
		t.Errorf("exit status %d (%v), want 130: Go ends by SIGINT\n%s", status, err, out.String())
	}
	s.cleared()
	var answer bytes.Buffer
	curl := s.Command("run", "--target", s.target(), "--", "curl", "-sS", "--max-time", "10", "http://stock:81/price/1")
	curl.Stdout, curl.Stderr = &answer, os.Stderr
	if err := curl.Run(); err != nil {
		t.Errorf("curl of a name of the pod: %v", err)
	}
	var price int
	if json.Unmarshal(bytes.TrimSpace(answer.Bytes()), &price) != nil || price == 0 {
		t.Errorf("the stock said %q", answer.String())
	}
	if err := s.Command("run", "--target", s.target(), "--", "sh", "-c", "exit 7").Run(); err == nil || err.Error() != "exit status 7" {
		t.Errorf("exit 7: %v", err)
	}
	testkit.Eventually(t, "the session is gone", func() bool { return s.leftover() == "" })
}
