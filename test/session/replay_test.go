//go:build linux

package session

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/internal/testkit/desk"
)

// TestReplayStopsAgain : a request that was stepped through can be stepped through again, also in the program's next life, and never
// reaches the target; another terminal sees all of them.
func TestReplayStopsAgain(t *testing.T) {
	for _, c := range filterCases() {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			d, stop, first := c.stopIn(s, nil, asking("/cart/first"))
			resume := func(thread int) {
				t.Helper()
				if err := d.Resume(s.ctx, thread); err != nil {
					t.Fatal(err)
				}
			}
			resume(stop.ThreadID)
			if r := first.reply(); r.by() != "debuggee" {
				t.Errorf("the first request: %+v, want the debuggee's answer", r)
			}
			var listed struct{ Requests []requests.Summary }
			decode(t, s, d, &listed, "podstep/requests", map[string]any{})
			if len(listed.Requests) != 1 {
				t.Fatalf("listed %+v, want the only request that the filter wants", listed)
			}
			original := listed.Requests[0].ID

			for _, life := range []string{"first", "second"} {
				var replay struct{ ID uint64 }
				decode(t, s, d, &replay, "podstep/replay", map[string]any{"id": original})
				stop, err := d.Stopped(s.ctx)
				if err != nil {
					t.Fatalf("replay in the %s life: %v\n%s", life, err, d.Outputs())
				}
				request := theRequest(t, s, d, stop.ThreadID)
				for name, want := range map[string]string{
					"id": fmt.Sprint(replay.ID), "replayOf": fmt.Sprint(original), "method": "GET", "path": "/cart/first", "header x-user": "alice",
					"peer": "", // nobody but the session sends it
				} {
					if request[name] != want {
						t.Errorf("%s life: the scope's %s is %q, want %q", life, name, request[name], want)
					}
				}
				resume(stop.ThreadID)
				if e := s.over(replay.ID); e.Went != requests.Debuggee || e.Status != 200 || e.ReplayOf != original {
					t.Errorf("%s life: another terminal lists the replay as %+v", life, e)
				}
				if life == "first" {
					c.restart(s, d)
				}
			}
			_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
			<-d.Exited
			s.cleared()
		})
	}
}

// TestCopiesOfTheTimeOfAStopCanBeReplayed : a mirrored request that comes while the debugger is stopped is not forced upon it, and not lost.
func TestCopiesOfTheTimeOfAStopCanBeReplayed(t *testing.T) {
	for _, c := range filterCases() {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			d, stop, first := c.stopIn(s, map[string]any{"mode": "mirror"}, asking("/cart/first"))
			for _, asked := range []*asked{first, s.ask(asking("/cart/second"))} {
				if r := asked.reply(); r.by() != "target" {
					t.Errorf("%+v, want the target's answer", r)
				}
			}
			var missed requests.Summary
			s.until("the second request is listed", func() bool {
				for _, r := range s.listed() {
					if r.Path == "/cart/second" {
						missed = r
					}
				}
				return missed.Done
			})
			if missed.Went != requests.Target || missed.Why != "the debugger is stopped" {
				t.Errorf("listed as %+v", missed)
			}
			if err := d.Resume(s.ctx, stop.ThreadID); err != nil {
				t.Fatal(err)
			}
			var replay struct{ ID uint64 }
			decode(t, s, d, &replay, "podstep/replay", map[string]any{"id": missed.ID})
			stop, err := d.Stopped(s.ctx)
			if err != nil {
				t.Fatalf("%v\n%s", err, d.Outputs())
			}
			if r := theRequest(t, s, d, stop.ThreadID); r["path"] != "/cart/second" || r["replayOf"] != fmt.Sprint(missed.ID) {
				t.Errorf("the scope's request is %v", r)
			}
			if err := d.Resume(s.ctx, stop.ThreadID); err != nil {
				t.Fatal(err)
			}
			if e := s.over(replay.ID); e.Went != requests.Debuggee || e.Status != 200 {
				t.Errorf("the replay is listed as %+v", e)
			}
			_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
			<-d.Exited
			s.cleared()
		})
	}
}

// restart restarts the debuggee with the case's breakpoint.
func (c filterCase) restart(s *stage, d *desk.Session) {
	s.t.Helper()
	opened := strings.Count(d.Outputs(), "the shop is open")
	seq, err := d.Send("restart", map[string]any{})
	if err == nil {
		err = d.Configure(s.ctx, seq, c.breakpoints(s.t))
	}
	if err == nil {
		_, err = d.Answer(s.ctx, seq)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.until("the shop is open again", func() bool { return strings.Count(d.Outputs(), "the shop is open") > opened })
}

// over waits until a request is over and returns what podstep requests lists of it.
func (s *stage) over(id uint64) (found requests.Summary) {
	s.t.Helper()
	s.until(fmt.Sprintf("podstep requests lists %d as answered", id), func() bool {
		for _, r := range s.listed() {
			if r.ID == id {
				found = r
			}
		}
		return found.Done
	})
	return found
}

// listed is what podstep requests lists in another terminal.
func (s *stage) listed() (list []requests.Summary) {
	s.t.Helper()
	out, err := s.Command("requests", "-o", "json").Output()
	if err != nil {
		s.t.Fatalf("podstep requests: %v\n%s", err, out)
	}
	var sessions []struct {
		Requests []requests.Summary `json:"requests"`
	}
	if err := json.Unmarshal(out, &sessions); err != nil {
		s.t.Fatalf("podstep requests: %v in\n%s", err, out)
	}
	for _, session := range sessions {
		list = append(list, session.Requests...)
	}
	return list
}
