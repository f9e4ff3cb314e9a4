//go:build linux

package session

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// heldRequest is the body of the event podstep/held.
type heldRequest struct {
	ID                 uint64
	Method, Path, Rule string
	Until              time.Time
}

// openShop launches the case's shop for alice's requests.
func (c filterCase) openShop(s *stage, more map[string]any, breakpoints map[string][]int) *desk.Session {
	s.t.Helper()
	attributes := c.attributes(s)
	attributes["mirror"] = s.stealMine(more)
	d := s.Start(c.adapterID)
	if err := d.Launch(s.ctx, attributes, breakpoints); err != nil {
		s.t.Fatalf("%v\n%s", err, d.Outputs())
	}
	if _, err := d.Output(s.ctx, "the shop is open"); err != nil {
		s.t.Fatal(err)
	}
	return d
}

// nextHeld waits for the next request that a rule holds.
func nextHeld(t *testing.T, s *stage, d *desk.Session) (h heldRequest) {
	t.Helper()
	m, err := d.Event(s.ctx, "podstep/held")
	if err == nil {
		err = m.Decode(&h)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	return h
}

// TestBreakOnARequest : a request that a rule matches is held before the debuggee has it, and goes on as the person says: into the debugger,
// where it stops at a breakpoint that was set meanwhile, to the target, or with a failure.
func TestBreakOnARequest(t *testing.T) {
	for _, c := range filterCases() {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			d := c.openShop(s, map[string]any{"rules": []any{
				map[string]any{"action": "break", "filter": map[string]any{"path": map[string]string{"prefix": "/cart/held"}}},
			}}, nil)
			first := s.ask(asking("/cart/held?token=s3cret"))
			h := nextHeld(t, s, d)
			if h.Method != "GET" || h.Path != "/cart/held" || h.Rule != `break on requests with path begins with "/cart/held"` || time.Until(h.Until) > time.Minute {
				t.Errorf("held %+v", h)
			}
			if _, err := d.Output(s.ctx, "request 1 GET /cart/held waits, by the rule to break on"); err != nil {
				t.Error(err)
			}
			// Others, also of the same developer, do not wait for it.
			if r := s.ask(asking("/cart/free")).reply(); r.by() != "debuggee" {
				t.Errorf("a request that is not held: %+v", r)
			}
			if table := s.podstep("requests"); !strings.Contains(table, "held: a rule: break on requests") || strings.Contains(table, "s3cret") {
				t.Errorf("listed:\n%s", table)
			}
			if !first.waits() {
				t.Fatal("the held request is answered")
			}
			if _, err := d.Request(s.ctx, "setBreakpoints", map[string]any{
				"source": map[string]string{"path": c.file}, "breakpoints": []any{map[string]int{"line": desk.LineOf(t, c.file, c.line)}},
			}); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Request(s.ctx, "podstep/release", map[string]any{"id": h.ID, "action": "deliver"}); err != nil {
				t.Fatal(err)
			}
			stop, err := d.Stopped(s.ctx)
			if err != nil {
				t.Fatalf("%v\n%s", err, d.Outputs())
			}
			if request := theRequest(t, s, d, stop.ThreadID); request["path"] != "/cart/held" || request["id"] != "1" {
				t.Errorf("stopped in %v", request)
			}
			// At the breakpoint, another one is held all the same, and goes to the target.
			second := s.ask(asking("/cart/held-2"))
			id := nextHeld(t, s, d).ID
			s.podstep("requests", "target", jsonOf(id))
			if r := second.reply(); r.by() != "target" {
				t.Errorf("released to the target: %+v", r)
			}
			if err := d.ClearBreakpoints(s.ctx, c.file); err != nil {
				t.Fatal(err)
			}
			if err := d.Resume(s.ctx, stop.ThreadID); err != nil {
				t.Fatal(err)
			}
			if r := first.reply(); r.by() != "debuggee" {
				t.Errorf("released to the debuggee: %+v", r)
			}
			third := s.ask(asking("/cart/held-3"))
			s.podstep("requests", "fail", jsonOf(nextHeld(t, s, d).ID), "--status", "418")
			if r := third.reply(); r.Status != 418 || !strings.Contains(r.Body, "podstep") {
				t.Errorf("released to fail: %+v", r)
			}
			_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
			<-d.Exited
			s.cleared()
		})
	}
}

// TestRulesOfARunningSession : failures and delays are set from a terminal, without a restart.
func TestRulesOfARunningSession(t *testing.T) {
	c := filterCases()[0]
	s := newStage(t)
	d := c.openShop(s, nil, nil)
	s.podstep("rules", "add", `{"action": "delay", "delay": "6s", "filter": {"path": "/cart/slow"}}`)
	s.podstep("rules", "add", `{"action": "fail", "status": 500, "body": "{\"error\": \"no\"}", "filter": {"method": "POST"}, "times": 1}`)
	slow := s.ask(asking("/cart/slow")) // longer than an agent waits that knows of no rules
	mixed := s.ask(question{Method: http.MethodPost, Path: "/cart/1", User: "alice", ID: "a"}, asking("/cart/2")).replies()
	if r := mixed[0]; r.Status != 500 || r.Body != `{"error": "no"}` {
		t.Errorf("the first POST: %+v", r)
	}
	if mixed[1].by() != "debuggee" || mixed[1].Local != mixed[0].Local {
		t.Errorf("the next request of its connection: %+v", mixed[1])
	}
	if r := slow.reply(); r.by() != "debuggee" || r.Took < 6*time.Second || r.Took > 20*time.Second {
		t.Errorf("the delayed request: %+v", r)
	}
	if table := s.podstep("rules"); !strings.Contains(table, "1      1     fail with 500: requests with method POST, the first one\n2      1     delay by 6s: ") {
		t.Errorf("the rules:\n%s", table)
	}
	s.podstep("rules", "clear")
	if r := s.ask(asking("/cart/slow")).reply(); r.by() != "debuggee" || r.Took > 3*time.Second {
		t.Errorf("without rules: %+v", r)
	}
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
	<-d.Exited
	s.cleared()
}

// TestSessionMovesExistingConnections : a client that keeps its connection is the debuggee's with "existing": "reset".
func TestSessionMovesExistingConnections(t *testing.T) {
	c := filterCases()[0]
	s := newStage(t)
	regular := startClient(t, s.pod, "regular")
	s.until("the regular is answered", func() bool { return len(regular.All(time.Time{}, visit.By("target"))) > 3 })
	began := time.Now()
	attributes := c.attributes(s)
	attributes["mirror"] = map[string]any{"target": s.target(), "incoming": map[string]any{"mode": "steal", "ports": map[string]int{"80": 8080}, "existing": "reset"}}
	d := s.Start(c.adapterID)
	if err := d.Launch(s.ctx, attributes, nil); err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	if _, err := d.Output(s.ctx, "existed before and"); err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	s.until("the regular is answered by the debuggee", func() bool { _, ok := regular.First(began, visit.By("debuggee")); return ok })
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
	<-d.Exited
	s.cleared()
}

func jsonOf(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// podstep runs the program in another terminal of this desk, for the stage's session: others' may run on the machine.
func (s *stage) podstep(args ...string) string {
	s.t.Helper()
	out, err := s.Command(append(args, "--session", s.target())...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("podstep %v: %v: %s", args, err, out)
	}
	return string(out)
}
