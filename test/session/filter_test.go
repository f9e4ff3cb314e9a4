//go:build linux

package session

import (
	"errors"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/dapclient"
	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// mine is the filter of the tests, and asking of who is meant by it.
var mine = map[string]any{"header": map[string]string{"x-user": "alice"}}

func asking(path string) question {
	return question{Method: http.MethodGet, Path: path, User: "alice", ID: path}
}

// stealMine is the mirror block for alice's requests, with further keys of incoming.
func (s *stage) stealMine(more map[string]any) map[string]any {
	incoming := map[string]any{"mode": "steal", "ports": map[string]int{"80": 8080}, "filter": mine}
	maps.Copy(incoming, more)
	return map[string]any{"target": s.target(), "incoming": incoming}
}

// theRequest returns what the scope Request shows while a thread is stopped, header fields under "header NAME".
func theRequest(t *testing.T, s *stage, d *desk.Session, thread int) map[string]string {
	t.Helper()
	frames, err := d.Frames(s.ctx, thread)
	if err != nil {
		t.Fatal(err)
	}
	var scopes struct {
		Scopes []struct {
			Name               string
			VariablesReference int
		}
	}
	decode(t, s, d, &scopes, "scopes", map[string]any{"frameId": frames[0].ID})
	names := []string{}
	for _, scope := range scopes.Scopes {
		names = append(names, scope.Name)
		if scope.Name != "Request" {
			continue
		}
		inside := shown(t, s, d, scope.VariablesReference)
		if len(inside) != 1 {
			t.Fatalf("%d requests in the scope Request: %v", len(inside), inside)
		}
		values := map[string]string{}
		for _, v := range shown(t, s, d, inside[0].VariablesReference) {
			values[v.Name] = v.Value
			if v.Name == "headers" {
				for _, field := range shown(t, s, d, v.VariablesReference) {
					values["header "+strings.ToLower(field.Name)] = field.Value
				}
			}
		}
		return values
	}
	t.Fatalf("no scope Request among %q", names)
	return nil
}

// dapVariable is a variable, as the editor gets it.
type dapVariable struct {
	Name, Value        string
	VariablesReference int
}

func shown(t *testing.T, s *stage, d *desk.Session, reference int) []dapVariable {
	t.Helper()
	var body struct{ Variables []dapVariable }
	decode(t, s, d, &body, "variables", map[string]any{"variablesReference": reference})
	return body.Variables
}

// decode makes a request of the editor and decodes the answer's body.
func decode(t *testing.T, s *stage, d *desk.Session, body any, command string, arguments map[string]any) {
	t.Helper()
	answer, err := d.Request(s.ctx, command, arguments)
	if err == nil {
		err = answer.Decode(body)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// filterCase is a debugger with the shop in its language.
type filterCase struct {
	name, adapterID, file, line string
	client                      string // the variable with the client's address
	attributes                  func(*stage) map[string]any
}

func filterCases() []filterCase {
	return []filterCase{
		{"dlv", "go", filepath.Join(root(), "test/debuggees/go/shop/main.go"), "<- the demo's breakpoint", "client", func(s *stage) map[string]any {
			a := s.dlvAttributes()
			a["mode"], a["program"], a["cwd"] = "exec", filepath.Join(kit, "shop"), kit
			return a
		}},
		{"debugpy", "debugpy", filepath.Join(root(), "test/debuggees/python/shop.py"), "<- a good place", "client", func(s *stage) map[string]any {
			return s.debugpyAttributes("internalConsole")
		}},
	}
}

// breakpoints are the case's only one.
func (c filterCase) breakpoints(t *testing.T) map[string][]int {
	return map[string][]int{c.file: {desk.LineOf(t, c.file, c.line)}}
}

// stopIn launches the case's shop for alice's requests and sends one, which stops.
func (c filterCase) stopIn(s *stage, more map[string]any, q question) (*desk.Session, dapclient.Stop, *asked) {
	s.t.Helper()
	attributes := c.attributes(s)
	attributes["mirror"] = s.stealMine(more)
	d := s.Start(c.adapterID)
	if err := d.Launch(s.ctx, attributes, c.breakpoints(s.t)); err != nil {
		s.t.Fatalf("%v\n%s", err, d.Outputs())
	}
	if _, err := d.Output(s.ctx, "the shop is open"); err != nil {
		s.t.Fatal(err)
	}
	first := s.ask(q)
	stop, err := d.Stopped(s.ctx)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, d.Outputs())
	}
	return d, stop, first
}

// TestFilterTakesOnlyMatchingRequests : a request that the filter wants stops at a breakpoint and is shown there; everybody else's are
// answered by the target as if nothing was, on the connections that they have; and a second one that is wanted meets the policy.
func TestFilterTakesOnlyMatchingRequests(t *testing.T) {
	policies := []struct {
		name string
		more map[string]any
		meet func(*testing.T, *asked) // while the debugger is stopped
		by   string                   // who answers in the end
	}{
		{"passthrough", map[string]any{"onPause": "passthrough"}, func(t *testing.T, second *asked) { second.reply() }, "target"},
		{"hold", map[string]any{"onPause": "hold"}, func(t *testing.T, second *asked) {
			if !second.waits() {
				t.Error("the second request does not wait")
			}
		}, "debuggee"},
		{"reject", nil, func(t *testing.T, second *asked) { second.reply() }, "podstep"},
	}
	for _, c := range filterCases() {
		for _, policy := range policies {
			t.Run(c.name+" "+policy.name, func(t *testing.T) {
				s := newStage(t)
				began := time.Now()
				regular := startClient(t, s.pod, "regular")
				d, stop, first := c.stopIn(s, policy.more, asking("/cart/first?colour=red"))
				stopped := time.Now()
				request := theRequest(t, s, d, stop.ThreadID)
				for name, want := range map[string]string{
					"method": "GET", "path": "/cart/first", "query": "colour=red", "header x-user": "alice", "header x-request-id": "/cart/first?colour=red", "port": "80",
				} {
					if request[name] != want {
						t.Errorf("the scope's %s is %q, want %q", name, request[name], want)
					}
				}
				variables, err := d.TopVariables(s.ctx, stop.ThreadID)
				if err != nil {
					t.Fatal(err)
				}
				if seen := strings.Trim(variables[c.client], `"'`); request["peer"] != seen || !strings.HasPrefix(seen, clientAddress+":") {
					t.Errorf("the scope's peer is %q, the debuggee sees %q", request["peer"], seen)
				}

				second := s.ask(asking("/cart/second"))
				for _, book := range []*visit.Book{s.client, regular} {
					testkit.Eventually(t, "25 requests of others are answered", func() bool { return len(book.All(stopped, visit.By("target"))) >= 25 })
				}
				policy.meet(t, second)
				if !first.waits() {
					t.Error("the stopped request is answered")
				}
				if err := errors.Join(d.ClearBreakpoints(s.ctx, c.file), d.Resume(s.ctx, stop.ThreadID)); err != nil {
					t.Fatal(err)
				}
				if r := first.reply(); r.by() != "debuggee" || r.Local != request["peer"] {
					t.Errorf("the first request: %+v, want the debuggee's answer for %s", r, request["peer"])
				}
				switch r := second.reply(); {
				case policy.by != "podstep" && r.by() != policy.by:
					t.Errorf("the second request: %+v, want the answer of the %s", r, policy.by)
				case policy.by == "podstep" && (r.Status != 503 || r.Retry != "1" || !strings.Contains(r.Body, "breakpoint")):
					t.Errorf("the second request: %+v, want a 503 that says why and when to come again", r)
				}
				s.until("the agent knows that the debugger goes on", func() bool { return s.ask(asking("/cart/2")).reply().by() == "debuggee" })
				// One connection has requests of both, and each its answer.
				mixed := s.ask(asking("/cart/3"), question{Method: "GET", Path: "/cart/4", User: "bob"}, asking("/cart/5")).replies()
				for i, want := range []string{"debuggee", "target", "debuggee"} {
					if mixed[i].by() != want || mixed[i].Local != mixed[0].Local {
						t.Errorf("request %d on one connection: %+v, want it answered by the %s", i, mixed[i], want)
					}
				}
				_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
				<-d.Exited
				s.undisturbed(began, regular)
				s.cleared()
			})
		}
	}
}

// undisturbed fails the test when a request of others failed or was not the target's, or the regular's connection was ended.
func (s *stage) undisturbed(began time.Time, regular *visit.Book) {
	s.t.Helper()
	for _, book := range []*visit.Book{s.client, regular} {
		if failed := book.Failed(began); len(failed) > 0 {
			s.t.Errorf("%d requests of others failed%s", len(failed), visit.Summary(failed))
		}
		if r, ok := book.First(began, visit.By("debuggee")); ok {
			s.t.Errorf("the debuggee answered what the filter does not want: %+v", r)
		}
	}
	ends := map[string]bool{}
	for _, r := range regular.All(began, visit.By("target")) {
		ends[r.Seen] = true
	}
	if len(ends) != 1 {
		s.t.Errorf("the regular needed %d connections", len(ends))
	}
}

// TestProcessHasOneThiefDespiteFilters : each session with a process has its own agent, and these do not share a port. The second is told
// who holds it.
func TestProcessHasOneThiefDespiteFilters(t *testing.T) {
	s := newStage(t)
	first, second := s.Start("go"), s.Start("go")
	attributes := func(user string) map[string]any {
		a := s.dlvAttributes()
		a["mode"], a["program"], a["cwd"] = "exec", filepath.Join(kit, "shop"), kit
		a["mirror"] = s.stealMine(map[string]any{"filter": map[string]any{"header": map[string]string{"x-user": user}}})
		return a
	}
	if err := first.Launch(s.ctx, attributes("alice"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Output(s.ctx, "the shop is open"); err != nil {
		t.Fatal(err)
	}
	err := second.Launch(s.ctx, attributes("bob"), nil)
	var failure *dapclient.Failure
	if !errors.As(err, &failure) || failure.ID != int(fault.PortTaken) || !strings.Contains(failure.Format, "@") {
		t.Errorf("second session: %v, want fault %d that names the holder", err, fault.PortTaken)
	}
	_, _ = second.Request(s.ctx, "disconnect", map[string]any{})
	<-second.Exited
	if r := s.ask(asking("/cart/1")).reply(); r.by() != "debuggee" {
		t.Errorf("the first session's request: %+v", r)
	}
	_, _ = first.Request(s.ctx, "disconnect", map[string]any{})
	<-first.Exited
	s.cleared()
}
