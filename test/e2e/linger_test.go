//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/visit"
)

// Aims of the time from F5 to the first stolen request, with the image on the node and the debuggee built. They are for a quiet
// machine: the test prints how long it took, and fails by nothing but its patience.
const (
	aimCold      = 1500 * time.Millisecond
	aimLingering = 300 * time.Millisecond
)

// TestNextSessionTakesTheLingeringAgent : with a linger, an idle agent without any rule is all that a session leaves, and the
// next one starts with it, sooner. It is not parallel, because it measures. "podstep run" is F5 without a debugger's own start.
func TestNextSessionTakesTheLingeringAgent(t *testing.T) {
	for _, kind := range []string{"ephemeral", "job"} {
		t.Run(kind, func(t *testing.T) {
			s := newStage(t)
			s.deploy(shop{})
			s.service("shop", "shop")
			c := s.hastyCustomer("http://shop", 5*time.Millisecond)
			s.await(c, "the target answers", time.Time{}, visit.By("target"))
			cold, first := s.ranOnce(c, kind)
			t.Logf("%s: start to the first stolen request in %v, aim %v", kind, cold.Round(time.Millisecond), aimCold)
			lingering, second := s.ranOnce(c, kind)
			t.Logf("%s, lingering: start to the first stolen request in %v, aim %v", kind, lingering.Round(time.Millisecond), aimLingering)
			if len(first) != 1 || !slices.Equal(first, second) {
				t.Errorf("the sessions had the agents %v and %v, want the same one", first, second)
			}
			began := time.Now()
			d := s.launched(s.mirror("deployment/shop", linger(kind, 1)))
			r := s.await(c, "the debuggee answers", began, visit.By("debuggee"))
			t.Logf("%s, lingering, with dlv: F5 to the first stolen request in %v", kind, r.Ended().Sub(began).Round(time.Millisecond))
			if now := s.everyAgent(); !slices.Equal(first, now) {
				t.Errorf("a session under dlv has the agents %v, want %v", now, first)
			}
			s.disconnect(d)
		})
	}
}

// ranOnce steals in a run until the first request, which came so long after its start, and names the agents that linger.
func (s *stage) ranOnce(c *customer, kind string) (took time.Duration, lingering []string) {
	s.t.Helper()
	var words testkit.Output
	cmd := s.Command("run", "--target", "deployment/shop", "--steal", fmt.Sprintf("80:%d", s.port), "--agent", kind, "--linger", "60",
		"--env", "ANSWERED_BY=debuggee", "--env", fmt.Sprintf("SHOP_PORT=%d", s.port), "--", filepath.Join(s.kit, "shop"))
	cmd.Stdout, cmd.Stderr = &words, &words
	began := time.Now()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("podstep said:\n%s", words.String())
		}
	})
	r := s.await(c, "the debuggee answers", began, visit.By("debuggee"))
	over := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		s.t.Fatal(err)
	}
	_ = cmd.Wait() // the shop ends by the signal
	s.served(c, over)
	s.onlyIdleAgents()
	return r.Ended().Sub(began), s.everyAgent()
}

// onlyIdleAgents fails the test unless agents without any rule are all that is left of a session.
func (s *stage) onlyIdleAgents() {
	s.t.Helper()
	s.eventually("nothing is left at the desk", func() bool { return s.Leftover() == "" && len(s.Files()) == 0 })
	for _, pod := range s.pods("shop") {
		seen, err := s.look(s.ctx, &pod)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, table := range seen.Tables {
			if table != "podstep-resident" { // it has no rule; see agent/incoming
				s.t.Errorf("%s has the rules %s", pod.Name, table)
			}
		}
	}
}

// everyAgent names all agents that run in the namespace, of both kinds.
func (s *stage) everyAgent() (names []string) {
	s.t.Helper()
	for _, pod := range s.allPods() {
		if len(ours("pod", pod.Name)) > 0 && pod.Status.Phase == corev1.PodRunning {
			names = append(names, pod.Name)
		}
		names = append(names, agents(&pod)...)
	}
	return names
}
