//go:build linux

package session

import (
	"maps"
	"net/http"
	"testing"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/internal/testkit/dapclient"
	"podstep.dev/internal/testkit/desk"
)

// TestAStreamStopsAtABreakpoint : a stream of HTTP/2 that the filter wants stops, is shown as what it is, and can be sent again; others of the
// same connection are the target's meanwhile.
func TestAStreamStopsAtABreakpoint(t *testing.T) {
	s := newStage(t)
	of := func(user, path string) question {
		return question{Method: http.MethodGet, Path: path, User: user, ID: path, HTTP2: true}
	}
	d, stop, first := filterCases()[0].stopIn(s, nil, of("alice", "/cart/first?colour=red"))
	request := theRequest(t, s, d, stop.ThreadID)
	for name, want := range map[string]string{
		"method": "GET", "path": "/cart/first", "query": "colour=red", "protocol": "HTTP/2", "header x-user": "alice", "port": "80",
	} {
		if request[name] != want {
			t.Errorf("the scope's %s is %q, want %q", name, request[name], want)
		}
	}
	meanwhile := s.ask(of("bob", "/cart/1"), of("alice", "/cart/2"), of("bob", "/cart/3")).replies()
	for i, want := range []string{"target", "503", "target"} {
		r := meanwhile[i]
		if by := r.by(); by != want && !(want == "503" && r.Status == 503 && r.Retry == "1") {
			t.Errorf("while the debugger is stopped, request %d: %+v, want %s", i, r, want)
		}
	}
	if meanwhile[0].Local != meanwhile[2].Local {
		t.Errorf("one connection became two: %s, %s", meanwhile[0].Local, meanwhile[2].Local)
	}
	if err := d.Resume(s.ctx, stop.ThreadID); err != nil {
		t.Fatal(err)
	}
	if r := first.reply(); r.by() != "debuggee" {
		t.Errorf("the request that stopped: %+v", r)
	}
	replay, again := replayed(t, s, d)
	if err := d.Resume(s.ctx, again.ThreadID); err != nil {
		t.Fatal(err)
	}
	if e := s.over(replay); e.Status != 200 {
		t.Errorf("the replay is listed as %+v", e)
	}
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
	<-d.Exited
	s.cleared()
}

// replayed sends the first request again, over HTTP/2 as it came, and waits until the debugger stops in that.
func replayed(t *testing.T, s *stage, d *desk.Session) (id uint64, again dapclient.Stop) {
	t.Helper()
	var replay struct{ ID uint64 }
	decode(t, s, d, &replay, "podstep/replay", map[string]any{"id": 1})
	again, err := d.Stopped(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if request := theRequest(t, s, d, again.ThreadID); request["protocol"] != "HTTP/2" || request["replayOf"] != "1" {
		t.Errorf("the replay is shown as %v", request)
	}
	return replay.ID, again
}

// TestAStreamIsCopied : of a connection of HTTP/2 that carries everybody's, a mirror with a filter has its own requests stop, be listed as copies and
// be sent again, while the target answers all of them.
func TestAStreamIsCopied(t *testing.T) {
	s := newStage(t)
	of := func(user, path string) question {
		return question{Method: http.MethodGet, Path: path, User: user, ID: path, HTTP2: true}
	}
	c := filterCases()[0]
	d, stop, first := c.stopIn(s, map[string]any{"mode": "mirror"}, of("alice", "/cart/first?colour=red"))
	if r := first.reply(); r.by() != "target" {
		t.Errorf("the request whose copy stopped: %+v", r)
	}
	request := theRequest(t, s, d, stop.ThreadID)
	for name, want := range map[string]string{
		"method": "GET", "path": "/cart/first", "query": "colour=red", "protocol": "HTTP/2", "header x-user": "alice", "port": "80", "peer": first.reply().Local,
	} {
		if request[name] != want {
			t.Errorf("the scope's %s is %q, want %q", name, request[name], want)
		}
	}
	resume := func(thread int) {
		t.Helper()
		if err := d.Resume(s.ctx, thread); err != nil {
			t.Fatal(err)
		}
	}
	resume(stop.ThreadID)
	s.over(1)
	replay, again := replayed(t, s, d)
	if err := d.ClearBreakpoints(s.ctx, c.file); err != nil {
		t.Fatal(err)
	}
	resume(again.ThreadID)
	if e := s.over(replay); e.Went != requests.Debuggee || e.Status != 200 {
		t.Errorf("the replay is listed as %+v", e)
	}
	replies := s.ask(of("bob", "/cart/1"), of("alice", "/cart/2"), of("bob", "/cart/3"), of("alice", "/cart/4")).replies()
	for i, r := range replies {
		if r.by() != "target" || r.Local != replies[0].Local {
			t.Errorf("request %d on one connection: %+v", i, r)
		}
	}
	s.until("all are listed", func() bool { return len(s.listed()) >= 4 })
	paths := map[string]bool{}
	for _, id := range []uint64{1, replay + 1, replay + 2} {
		e := s.over(id)
		if e.Went != requests.Copy || e.Status != 200 || e.Protocol != "HTTP/2" {
			t.Errorf("listed as %+v, want a copy", e)
		}
		paths[e.Path] = true
	}
	// Streams of one connection are copied beside each other, in any order.
	if want := map[string]bool{"/cart/first": true, "/cart/2": true, "/cart/4": true}; !maps.Equal(paths, want) {
		t.Errorf("copies of %v are listed, want %v", paths, want)
	}
	if n := len(s.listed()); n != 4 {
		t.Errorf("%d requests are listed", n)
	}
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
	<-d.Exited
	s.cleared()
}
