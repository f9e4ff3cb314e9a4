//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// TestConflictingFilterIsRefused : who wants requests that another session could have is told whose they are, since when, by which
// filter, and whether that one stands at a breakpoint; whoever wants others gets them. Others read it of podstep targets and
// of the pod's Events.
func TestConflictingFilterIsRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pod := s.deploy(shop{})[0]
	s.service("shop", "shop")
	bob, carol := s.colleague("bob"), s.colleague("carol")
	c := s.partyCustomer("http://shop", "alice")
	file := filepath.Join(root(), "test/debuggees/go/shop/main.go")
	d := s.launched(s.mirror("deployment/shop", s.filtered(byParty("alice"), "reject")))
	s.await(c, "alice's debuggee answers", time.Now(), visit.By("debuggee"))
	const hers = `header x-party = "alice"`
	carts := map[string]any{"path": map[string]any{"prefix": "/cart/"}}
	for what, keys := range map[string]map[string]any{"all": s.mirror(""), "the carts": bob.filtered(carts, "reject")} {
		if text := bob.refused(map[string]any{"incoming": keys["incoming"]}); !contains(text, "alice@", "since", hers, "not paused") {
			t.Errorf("bob, who wants %s, is told %q", what, text)
		} else {
			t.Logf("bob, who wants %s, is told %q", what, text)
		}
	}
	line := desk.LineOf(t, file, "<- the demo's breakpoint")
	if _, err := d.Request(s.ctx, "setBreakpoints", map[string]any{"source": map[string]any{"path": file}, "breakpoints": []any{map[string]int{"line": line}}}); err != nil {
		t.Fatal(err)
	}
	stop, err := d.Stopped(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.await(c, "alice's requests are refused while she stands at a breakpoint", time.Now(), func(r visit.Request) bool { return contains(r.Error, "503") })
	if text := bob.refused(bob.filtered(carts, "reject")); !contains(text, "alice@", hers, "is paused since") {
		t.Errorf("bob is told %q, while alice's debugger is stopped", text)
	} else {
		t.Logf("bob is told %q", text)
	}
	others := map[string]any{"all": []any{carts, map[string]any{"not": byParty("alice")}}}
	carols := carol.launched(carol.mirror("deployment/shop", carol.filtered(others, "passthrough")))
	s.await(s.partyCustomer("http://shop", ""), "carol's debuggee answers", time.Time{}, visit.By("debuggee"))
	table := lines(s.borrowers("deployment/shop"))
	t.Logf("%s", table)
	for _, want := range [][]string{{"alice@", "steals 80 (" + hers + ")", "paused for"}, {"carol@", "steals 80 (path "}} {
		if !slices.ContainsFunc(table, func(line string) bool { return contains(line, want...) }) {
			t.Errorf("podstep targets has no line with %q: %q", want, table)
		}
	}
	if err := errors.Join(d.ClearBreakpoints(s.ctx, file), d.Resume(s.ctx, stop.ThreadID)); err != nil {
		t.Fatal(err)
	}
	s.await(c, "alice's debuggee answers on", time.Now(), visit.By("debuggee"))
	carol.disconnect(carols)
	s.disconnect(d)
	for _, reason := range []string{"PodstepBorrowed", "PodstepReturned"} {
		s.eventually("an event "+reason+" with the filter", func() bool {
			return slices.ContainsFunc(s.events(&pod), func(e corev1.Event) bool {
				return e.Reason == reason && contains(e.Message, "alice@", "steal of port 80, requests with "+hers)
			})
		})
	}
	bob.cleared()
	carol.cleared()
	s.cleared()
}

// TestFilteredOnlyAllowsFilteredSteals : under the annotation, and the policy that enforces it, the agent of each kind steals by a filter
// and an unfiltered steal is refused.
func TestFilteredOnlyAllowsFilteredSteals(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pod := s.deploy(shop{})[0]
	s.service("shop", "shop")
	// Under the policy nothing but agents can be made where they have pods of their own.
	mine, others := s.partyCustomer("http://shop", "alice"), s.customer("http://shop")
	s.policy()
	s.eventually("the policy is in force", func() bool {
		return refusal(s.addDry(&pod, corev1.EphemeralContainerCommon{Name: "podstep-test", Image: "elsewhere"})) != ""
	})
	s.patchNamespace(fmt.Sprintf(`{"metadata":{"annotations":{%q:"filtered-only"}}}`, stealAnnotation))
	s.refusedWith(fault.StealDenied, "filter")
	for _, kind := range []string{"ephemeral", "job"} {
		began := time.Now()
		d := s.launched(s.mirror("deployment/shop", s.filtered(byParty("alice"), "reject"), linger(kind, 0)))
		r := s.await(mine, "the debuggee answers", began, visit.By("debuggee"))
		if _, found := others.First(began, func(r visit.Request) bool { return r.By != "target" }); found {
			t.Errorf("%s: a request without the header was not the target's", kind)
		}
		s.await(others, "the target answers the others", r.Ended(), visit.By("target"))
		s.disconnect(d)
	}
	s.refusedWith(fault.StealDenied, "filter")
	if agents := s.fresh(&pod).Spec.EphemeralContainers; len(agents) != 1 || agents[0].Args[4] != "filtered-only" {
		t.Errorf("the pod has these agents: %s", marshal(agents))
	}
	s.cleared()
}

// TestProbesOfAFilteredPortGoToTheTarget : also when the filter matches them, and the debugger is stopped, so that what it would
// get is refused.
func TestProbesOfAFilteredPortGoToTheTarget(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{change: withProbes})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	file := filepath.Join(root(), "test/debuggees/go/shop/main.go")
	d := s.Start("go")
	carts := map[string]any{"path": map[string]any{"prefix": "/cart/"}}
	if err := d.Launch(s.ctx, s.dlv(s.mirror("deployment/shop", s.filtered(carts, "reject"))), map[string][]int{file: {desk.LineOf(t, file, "<- the demo's breakpoint")}}); err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	stop, err := d.Stopped(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.await(c, "requests are refused", time.Now(), func(r visit.Request) bool { return contains(r.Error, "503") })
	s.unmoved("stopped at a breakpoint, where the filter matches the probes")
	if err := errors.Join(d.ClearBreakpoints(s.ctx, file), d.Resume(s.ctx, stop.ThreadID)); err != nil {
		t.Fatal(err)
	}
	s.await(c, "the debuggee answers", time.Now(), visit.By("debuggee"))
	s.disconnect(d)
	s.cleared()
}
