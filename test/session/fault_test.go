//go:build linux

package session

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"podstep.dev/internal/testkit"
)

// withinASecond is the promise to the target's clients.
const withinASecond = time.Second

// launchShop starts the shop under dlv, stealing, and returns when it answers the client.
func (s *stage) launchShop() *session {
	s.t.Helper()
	d := s.start("go")
	attributes := map[string]any{
		"type": "go", "request": "launch", "mode": "exec", "program": filepath.Join(kit, "shop"), "cwd": kit,
		"env": map[string]string{"ANSWERED_BY": "debuggee", "SHOP_PORT": "8080"}, "mirror": s.steal(),
	}
	if err := d.Launch(s.ctx, attributes, nil); err != nil {
		s.t.Fatalf("%v\n%s", err, d.Outputs())
	}
	r := s.await("the debuggee answers", time.Now(), by("debuggee"))
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
		do   func(*stage, *session)
	}{
		{"agent killed", func(s *stage, d *session) { kill(s.t, s.descendant(d, "podstep-agent"), syscall.SIGKILL) }},
		{"agent hanging", func(s *stage, d *session) {
			agent := s.descendant(d, "podstep-agent")
			kill(s.t, agent, syscall.SIGSTOP)
			s.t.Cleanup(func() { _ = syscall.Kill(agent, syscall.SIGCONT) })
		}},
		{"podstep killed", func(s *stage, d *session) { kill(s.t, d.cmd.Process.Pid, syscall.SIGKILL) }},
		{"podstep terminated", func(s *stage, d *session) { kill(s.t, d.cmd.Process.Pid, syscall.SIGTERM) }},
		{"debuggee killed", func(s *stage, d *session) { kill(s.t, s.descendant(d, "shop"), syscall.SIGKILL) }},
		{"debugger killed", func(s *stage, d *session) { kill(s.t, s.descendant(d, "dlv"), syscall.SIGKILL) }},
		{"keeper killed", func(s *stage, d *session) { kill(s.t, s.descendant(d, "podstep-launch"), syscall.SIGKILL) }},
		{"editor gone", func(s *stage, d *session) { _ = d.stdin.Close() }},
		{"disconnect", func(s *stage, d *session) { _, _ = d.Request(s.ctx, "disconnect", map[string]any{}) }},
		{"terminate", func(s *stage, d *session) { _, _ = d.Request(s.ctx, "terminate", map[string]any{}) }},
	}
	for _, end := range ends {
		t.Run(end.name, func(t *testing.T) {
			s := newStage(t)
			d := s.launchShop()
			began := time.Now()
			end.do(s, d)
			r := s.await("the target answers again", began, by("target"))
			outage := r.ended().Sub(began)
			if outage > withinASecond {
				t.Errorf("the target served again after %v, want at most %v", outage, withinASecond)
			}
			if end.name == "agent hanging" {
				// The session notices by its heartbeat; the person need not wait for that here.
				kill(t, d.cmd.Process.Pid, syscall.SIGTERM)
			}
			if end.name == "terminate" {
				_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
			}
			select {
			case <-d.exited:
			case <-time.After(testkit.Patience):
				t.Error("podstep goes on")
			}
			s.cleared()
			failed := s.client.failed(began)
			t.Logf("%s: the target served again after %v; %d requests failed%s", end.name, outage.Round(time.Millisecond), len(failed), summary(failed))
			over := time.Now()
			s.await("the target answers in the end", over, by("target"))
			if r, ok := s.client.first(over, by("debuggee")); ok {
				t.Errorf("the debuggee still answers: %+v", r)
			}
		})
	}
}

// TestSessionAsOrdinaryUser runs one whole session without any privilege.
func TestSessionAsOrdinaryUser(t *testing.T) {
	testkit.AsOrdinaryUser(t, "^TestTargetServesAgain$/^(agent|podstep)_killed$")
}
