//go:build linux

package session

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/desk"
)

// tills are a target and a debuggee that note what is delivered to them.
type tills struct {
	*stage
	books map[string]string // who to file
}

func newTills(t *testing.T) *tills {
	t.Helper()
	dir := t.TempDir()
	books := map[string]string{"target": filepath.Join(dir, "target"), "debuggee": filepath.Join(dir, "debuggee")}
	s := &tills{newStageOf(t, "till", "TILL_BOOK="+books["target"]), books}
	s.until("the target answers", func() bool { return s.ask(question{Method: "GET", Path: "/", ID: "ready"}).reply().by() == "target" })
	return s
}

// launch starts the debuggee under dlv with further keys of incoming, and returns when it answers.
func (s *tills) launch(more map[string]any) *desk.Session {
	s.t.Helper()
	incoming := map[string]any{"mode": "steal", "ports": map[string]int{"80": 8080}}
	maps.Copy(incoming, more)
	d := s.Start("go")
	err := d.Launch(s.ctx, map[string]any{
		"type": "go", "request": "launch", "mode": "exec", "program": filepath.Join(kit, "till"), "cwd": kit,
		"env":    map[string]string{"ANSWERED_BY": "debuggee", "TILL_PORT": "8080", "TILL_BOOK": s.books["debuggee"]},
		"mirror": map[string]any{"target": s.target(), "incoming": incoming},
	}, nil)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, d.Outputs())
	}
	s.until("the debuggee answers", func() bool { return s.ask(question{Method: "GET", Path: "/", ID: "ready"}).reply().by() == "debuggee" })
	return d
}

// noted is how often a request was delivered to who.
func (s *tills) noted(who, request string) int {
	s.t.Helper()
	book, err := os.ReadFile(s.books[who])
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(book)) {
		if strings.TrimSpace(line) == request {
			n++
		}
	}
	return n
}

// deliveries fails the test when a request (METHOD ID) was not delivered as often as that to debuggee and target.
func (s *tills) deliveries(request string, debuggee, target int) {
	s.t.Helper()
	if d, t := s.noted("debuggee", request), s.noted("target", request); d != debuggee || t != target {
		s.t.Errorf("%s was delivered %d times to the debuggee and %d times to the target, want %d and %d", request, d, t, debuggee, target)
	}
}

// TestKilledDebuggeeLeavesNoRequestUnanswered : those that it had are answered by the target where that is harmless, and nobody's is
// delivered to it twice.
func TestKilledDebuggeeLeavesNoRequestUnanswered(t *testing.T) {
	file := filepath.Join(root(), "test/debuggees/go/till/main.go")
	for _, stopped := range []bool{false, true} {
		name := "running"
		if stopped {
			name = "stopped"
		}
		t.Run(name, func(t *testing.T) {
			s := newTills(t)
			d := s.launch(nil)
			get := s.ask(question{Method: http.MethodGet, Path: "/?hangs=debuggee", ID: "get"})
			post := s.ask(question{Method: http.MethodPost, Path: "/?hangs=debuggee", ID: "post"})
			s.until("the debuggee has both", func() bool { return s.noted("debuggee", "GET get")+s.noted("debuggee", "POST post") == 2 })
			if stopped {
				s.setBreakpoints(d, map[string][]int{file: {desk.LineOf(t, file, "<- the tests' breakpoint")}})
				s.ask(question{Method: http.MethodGet, Path: "/", ID: "stops"})
				if _, err := d.Stopped(s.ctx); err != nil {
					t.Fatal(err)
				}
			}
			desk.Kill(t, d.Descendant("till"), syscall.SIGKILL)
			killed := time.Now()
			if r := get.reply(); r.Status != 200 || r.by() != "target" {
				t.Errorf("the GET: %+v, want the target's answer", r)
			}
			if r := post.reply(); r.Status != 502 || !strings.Contains(r.Body, "podstep") {
				t.Errorf("the POST: %+v, want a 502 that names podstep", r)
			}
			t.Logf("answered after %v", time.Since(killed).Round(time.Millisecond))
			s.deliveries("GET get", 1, 1)
			s.deliveries("POST post", 1, 0)
			if r := s.ask(question{Method: http.MethodPost, Path: "/", ID: "later"}).reply(); r.by() != "target" {
				t.Errorf("a later POST: %+v, want the target's answer", r)
			}
			s.deliveries("POST later", 0, 1)
			_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
			<-d.Exited
			s.cleared()
		})
	}
}

// setBreakpoints sets breakpoints while the debuggee runs.
func (s *stage) setBreakpoints(d *desk.Session, breakpoints map[string][]int) {
	s.t.Helper()
	for file, lines := range breakpoints {
		var list []map[string]int
		for _, line := range lines {
			list = append(list, map[string]int{"line": line})
		}
		if _, err := d.Request(s.ctx, "setBreakpoints", map[string]any{"source": map[string]any{"path": file}, "breakpoints": list}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestHangTimeout : who waits longer than that is answered by the target where that is harmless, else 504; a debugger that is stopped is no
// debuggee that hangs.
func TestHangTimeout(t *testing.T) {
	cases := []struct {
		name, method string
		more         map[string]any
		status       int
		by           string
		target       int // deliveries
	}{
		{"fallback", http.MethodGet, nil, 200, "target", 1},
		{"not of a POST", http.MethodPost, nil, 504, "podstep: the debuggee did not answer within 1s", 0},
		{"error", http.MethodGet, map[string]any{"onHang": "error"}, 504, "podstep: the debuggee did not answer within 1s", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newTills(t)
			more := map[string]any{"hangTimeout": 1}
			maps.Copy(more, c.more)
			d := s.launch(more)
			r := s.ask(question{Method: c.method, Path: "/?hangs=debuggee", ID: "hangs"}).reply()
			if r.Status != c.status || r.by() != c.by || r.Took < time.Second {
				t.Errorf("%+v, want %d by %q after a second", r, c.status, c.by)
			}
			s.deliveries(c.method+" hangs", 1, c.target)
			_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
			<-d.Exited
			s.cleared()
		})
	}
}

// TestHangTimeoutDoesNotCountAtABreakpoint : thinking is no hanging.
func TestHangTimeoutDoesNotCountAtABreakpoint(t *testing.T) {
	s := newTills(t)
	file := filepath.Join(root(), "test/debuggees/go/till/main.go")
	d := s.launch(map[string]any{"hangTimeout": 1, "onPause": "passthrough"})
	s.setBreakpoints(d, map[string][]int{file: {desk.LineOf(t, file, "<- the tests' breakpoint")}})
	thought := s.ask(question{Method: http.MethodPost, Path: "/", ID: "thought"})
	stop, err := d.Stopped(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	s.until("others are answered for twice as long", func() bool {
		r := s.ask(question{Method: "GET", Path: "/", ID: "other"}).reply()
		if r.by() != "target" {
			t.Fatalf("while the debugger is stopped: %+v, want the target's answer", r)
		}
		return time.Since(stopped) > 2*time.Second
	})
	if !thought.waits() {
		t.Fatalf("at a breakpoint longer than the hangTimeout: %+v", thought.reply())
	}
	if err := d.Resume(s.ctx, stop.ThreadID); err != nil {
		t.Fatal(err)
	}
	if r := thought.reply(); r.by() != "debuggee" {
		t.Errorf("%+v, want the debuggee's answer", r)
	}
	s.deliveries("POST thought", 1, 0)
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
	<-d.Exited
	s.cleared()
}

// TestRequestsAsOrdinaryUser runs sessions that tell requests apart without any privilege.
func TestRequestsAsOrdinaryUser(t *testing.T) {
	testkit.AsOrdinaryUser(t, "^(TestProcessHasOneThiefDespiteFilters|TestKilledDebuggeeLeavesNoRequestUnanswered|TestHangTimeout)$/^(running|fallback)$")
}
