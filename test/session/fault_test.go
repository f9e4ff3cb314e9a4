//go:build linux

package session

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// withinASecond is the promise to the target's clients.
const withinASecond = time.Second

// launchShop starts the shop under dlv, stealing, and returns when it answers the client.
func (s *stage) launchShop() *desk.Session {
	s.t.Helper()
	d := s.Start("go")
	attributes := map[string]any{
		"type": "go", "request": "launch", "mode": "exec", "program": filepath.Join(kit, "shop"), "cwd": kit,
		"env": map[string]string{"ANSWERED_BY": "debuggee", "SHOP_PORT": "8080"}, "mirror": s.steal(),
	}
	if err := d.Launch(s.ctx, attributes, nil); err != nil {
		s.t.Fatalf("%v\n%s", err, d.Outputs())
	}
	r := s.await("the debuggee answers", time.Now(), visit.By("debuggee"))
	if want := clientAddress + ":"; len(r.Seen) < len(want) || r.Seen[:len(want)] != want {
		s.t.Errorf("the debuggee saw the client as %q, want %s", r.Seen, want)
	}
	return d
}

// TestTargetServesAgain ends each part of a session in each way while requests flow, and measures when the target serves
// again. No process, rule or file is left afterwards.
func TestTargetServesAgain(t *testing.T) {
	ends := []struct {
		name string
		do   func(*stage, *desk.Session)
	}{
		{"agent killed", func(s *stage, d *desk.Session) { desk.Kill(s.t, d.Descendant("podstep-agent"), syscall.SIGKILL) }},
		{"agent hanging", func(s *stage, d *desk.Session) {
			agent := d.Descendant("podstep-agent")
			desk.Kill(s.t, agent, syscall.SIGSTOP)
			s.t.Cleanup(func() { _ = syscall.Kill(agent, syscall.SIGCONT) })
		}},
		{"podstep killed", func(s *stage, d *desk.Session) { desk.Kill(s.t, d.Cmd.Process.Pid, syscall.SIGKILL) }},
		{"podstep terminated", func(s *stage, d *desk.Session) { desk.Kill(s.t, d.Cmd.Process.Pid, syscall.SIGTERM) }},
		{"debuggee killed", func(s *stage, d *desk.Session) { desk.Kill(s.t, d.Descendant("shop"), syscall.SIGKILL) }},
		{"debugger killed", func(s *stage, d *desk.Session) { desk.Kill(s.t, d.Descendant("dlv"), syscall.SIGKILL) }},
		{"keeper killed", func(s *stage, d *desk.Session) { desk.Kill(s.t, d.Descendant("podstep-launch"), syscall.SIGKILL) }},
		{"editor gone", func(s *stage, d *desk.Session) { _ = d.Stdin.Close() }},
		{"disconnect", func(s *stage, d *desk.Session) { _, _ = d.Request(s.ctx, "disconnect", map[string]any{}) }},
		{"terminate", func(s *stage, d *desk.Session) { _, _ = d.Request(s.ctx, "terminate", map[string]any{}) }},
	}
	for _, end := range ends {
		t.Run(end.name, func(t *testing.T) {
			s := newStage(t)
			d := s.launchShop()
			began := time.Now()
			end.do(s, d)
			r := s.await("the target answers again", began, visit.By("target"))
			outage := r.Ended().Sub(began)
			if outage > withinASecond {
				t.Errorf("the target served again after %v, want at most %v", outage, withinASecond)
			}
			if end.name == "agent hanging" {
				// The session notices by its heartbeat; the person need not wait for that here.
				desk.Kill(t, d.Cmd.Process.Pid, syscall.SIGTERM)
			}
			if end.name == "terminate" {
				_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
			}
			select {
			case <-d.Exited:
			case <-time.After(testkit.Patience):
				t.Error("podstep goes on")
			}
			s.cleared()
			failed := s.client.Failed(began)
			t.Logf("%s: the target served again after %v; %d requests failed%s", end.name, outage.Round(time.Millisecond), len(failed), visit.Summary(failed))
			over := time.Now()
			s.await("the target answers in the end", over, visit.By("target"))
			if r, ok := s.client.First(over, visit.By("debuggee")); ok {
				t.Errorf("the debuggee still answers: %+v", r)
			}
		})
	}
}

// TestSessionAsOrdinaryUser runs one whole session without any privilege.
func TestSessionAsOrdinaryUser(t *testing.T) {
	testkit.AsOrdinaryUser(t, "^TestTargetServesAgain$/^(agent|podstep)_killed$")
}
