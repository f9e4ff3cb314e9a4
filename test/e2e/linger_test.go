//go:build linux

package e2e

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// Aims of the time from F5 to the first stolen request, with the image on the node and the debuggee built. They are for a quiet
// machine: the test prints how long it took, and fails by nothing but its patience.
const (
	aimCold      = 1500 * time.Millisecond
	aimLingering = 300 * time.Millisecond
)

// TestNextSessionTakesTheLingeringAgent : with a linger, an idle agent without any rule is all that a session leaves, and the
// next one starts with it, sooner. It is not parallel, because it measures.
func TestNextSessionTakesTheLingeringAgent(t *testing.T) {
	for _, kind := range []string{"ephemeral", "job"} {
		t.Run(kind, func(t *testing.T) {
			s := newStage(t)
			s.deploy(shop{})
			s.service("shop", "shop")
			c := s.hastyCustomer("http://shop", 10*time.Millisecond)
			s.await(c, "the target answers", time.Time{}, visit.By("target"))
			var before []string
			for _, round := range []struct {
				name string
				aim  time.Duration
			}{{"cold", aimCold}, {"lingering", aimLingering}} {
				began := time.Now()
				d := s.launched(s.mirror("deployment/shop", linger(kind, 60)))
				r := s.await(c, "the debuggee answers", began, visit.By("debuggee"))
				took := r.Ended().Sub(began)
				t.Logf("%s, %s: F5 to the first stolen request in %v, aim %v", kind, round.name, took.Round(time.Millisecond), round.aim)
				over := time.Now()
				s.disconnect(d)
				s.served(c, over)
				s.onlyIdleAgents(d)
				now := s.everyAgent()
				if before != nil && !slices.Equal(before, now) {
					t.Errorf("the next session has the agents %v, those of the last were %v", now, before)
				}
				before = now
			}
			if len(before) != 1 {
				t.Errorf("agents %v linger, want one", before)
			}
		})
	}
}

// onlyIdleAgents fails the test unless agents without any rule are all that is left of a session.
func (s *stage) onlyIdleAgents(d *desk.Session) {
	s.t.Helper()
	s.exited(d)
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
