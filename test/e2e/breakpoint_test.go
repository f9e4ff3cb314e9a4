//go:build linux

package e2e

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// TestBreakpointStopsOnStolenRequest is the main job: two replicas on two nodes behind a Service, and a request from a pod to
// the ClusterIP stops at a breakpoint here, whichever replica it came to. Its variables are there, others are served
// meanwhile, and in the end its customer gets the debuggee's answer.
func TestBreakpointStopsOnStolenRequest(t *testing.T) {
	goShop, pyShop := filepath.Join(root(), "test/debuggees/go/shop/main.go"), filepath.Join(root(), "test/debuggees/python/shop.py")
	cases := []struct {
		name, adapterID, file, line, id string
		attributes                      func(*stage, map[string]any) map[string]any
	}{
		{"dlv", "go", goShop, "<- the demo's breakpoint", "id", (*stage).dlv},
		{"debugpy", "debugpy", pyShop, "<- a good place", "cart_id", (*stage).debugpy},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			pods := s.deploy(shop{replicas: 2, spread: true})
			s.service("shop", "shop")
			customer := s.customer("http://shop")
			d := s.Start(c.adapterID)
			if err := d.Launch(s.ctx, c.attributes(s, s.mirror("deployment/shop")), map[string][]int{c.file: {desk.LineOf(t, c.file, c.line)}}); err != nil {
				t.Fatalf("%v\n%s", err, d.Outputs())
			}
			stop, err := d.Stopped(s.ctx)
			if err != nil {
				t.Fatalf("%v\n%s", err, d.Outputs())
			}
			stopped := time.Now()
			for _, pod := range pods {
				s.await(customer, "the target answers in "+pod.Name+" while the debugger is stopped", stopped, func(r visit.Request) bool {
					return r.By == "target" && r.Host == pod.Name
				})
			}
			variables, err := d.TopVariables(s.ctx, stop.ThreadID)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Trim(variables["client"], `"'`); !strings.HasPrefix(got, customer.address()+":") {
				t.Errorf("the debuggee sees the client as %q, want %s:PORT", got, customer.address())
			}
			cart, err := strconv.Atoi(strings.Trim(variables[c.id], `"'`))
			if err != nil {
				t.Fatalf("no cart in the variables: %v", variables)
			}
			if err := errors.Join(d.ClearBreakpoints(s.ctx, c.file), d.Resume(s.ctx, stop.ThreadID)); err != nil {
				t.Fatal(err)
			}
			r := s.await(customer, "the request that stopped is answered", time.Time{}, func(r visit.Request) bool { return r.N == cart })
			if r.By != "debuggee" || r.Price == 0 || r.Ended().Before(stopped) {
				t.Errorf("the request that stopped was answered so: %+v", r)
			}
			s.bothStolen(customer, pods[0].Name, pods[1].Name)
			if failed := customer.Failed(time.Time{}); len(failed) > 0 {
				t.Errorf("%d requests failed%s", len(failed), visit.Summary(failed))
			}
			restarted(t, s, d, customer)
			over := time.Now()
			s.disconnect(d)
			s.await(customer, "the target answers again", over, visit.By("target"))
			s.cleared()
			s.served(customer, over)
			// What the debuggee was answering when it was ended for the restart, or by the disconnect, it never will.
			failed := customer.Failed(time.Time{})
			t.Logf("restart and disconnect cost the pods' clients %d requests%s", len(failed), visit.Summary(failed))
		})
	}
}

// bothStolen waits until the debuggee answers and none of the pods does: the Service goes on choosing among them.
func (s *stage) bothStolen(c *customer, pods ...string) {
	s.t.Helper()
	since := time.Now()
	s.eventually("the debuggee answers for "+strings.Join(pods, " and "), func() bool {
		answered := c.All(since, visit.By("debuggee"))
		if other, found := c.First(since, visit.By("target")); found {
			since = other.Began
			return false
		}
		return len(answered) >= 20 // that all of them came to one pod of two has a chance of one in a million
	})
}

// restarted restarts the debuggee: the target answers meanwhile.
func restarted(t *testing.T, s *stage, d *desk.Session, c *customer) {
	t.Helper()
	terminated, began := d.Count("terminated"), time.Now()
	if err := d.Restart(s.ctx); err != nil {
		t.Fatal(err)
	}
	between := s.await(c, "the target answers during the restart", began, visit.By("target"))
	s.await(c, "the debuggee answers after the restart", between.Began, visit.By("debuggee"))
	if d.Count("terminated") != terminated {
		t.Error("a restart sent terminated to the editor")
	}
	t.Logf("restart to the debuggee's first answer: %v", time.Since(began).Round(time.Millisecond))
}

// served waits for 20 answers after since and fails the test if one was not the target's.
func (s *stage) served(c *customer, since time.Time) {
	s.t.Helper()
	first := s.await(c, "the target answers", since, visit.By("target"))
	s.eventually("the target answers on", func() bool { return len(c.All(first.Began, visit.By("target"))) >= 20 })
	if r, found := c.First(first.Began, func(r visit.Request) bool { return r.By != "target" }); found {
		s.t.Errorf("after the session: %+v", r)
	}
}
