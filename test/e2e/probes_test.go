//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// untilRestart is how long the shop's probes may fail before the kubelet restarts it.
const untilRestart = 2 * time.Second

// withProbes lets the kubelet probe the shop through the port that is stolen.
func withProbes(t *corev1.PodTemplateSpec) {
	probe := &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/cart/probe", Port: intstr.FromInt32(80)}},
		PeriodSeconds: 1, FailureThreshold: int32(untilRestart / time.Second), TimeoutSeconds: 1,
	}
	t.Spec.Containers[0].LivenessProbe, t.Spec.Containers[0].ReadinessProbe = probe, probe
}

// unmoved watches the shop for longer than its probes may fail, and fails the test when it is restarted or is not ready.
func (s *stage) unmoved(while string) {
	s.t.Helper()
	until := time.Now().Add(3 * untilRestart)
	s.eventually("the time of the probes is over", func() bool {
		for _, pod := range s.pods("shop") {
			if restarts := pod.Status.ContainerStatuses[0].RestartCount; restarts > 0 || !isReady(&pod) {
				s.t.Fatalf("%s: %s was restarted %d times, ready: %v", while, pod.Name, restarts, isReady(&pod))
			}
		}
		return time.Now().After(until)
	})
}

// TestProbesGoToTheTarget : the probes that the pod declares are the target's to answer, so that no breakpoint makes the kubelet
// restart it.
func TestProbesGoToTheTarget(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{change: withProbes})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	file := filepath.Join(root(), "test/debuggees/go/shop/main.go")
	d := s.Start("go")
	if err := d.Launch(s.ctx, s.dlv(s.mirror("deployment/shop")), map[string][]int{file: {desk.LineOf(t, file, "<- the demo's breakpoint")}}); err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	for range 5 {
		stop, err := d.Stopped(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		variables, err := d.TopVariables(s.ctx, stop.ThreadID)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(variables["id"], "probe") {
			t.Error("a probe stopped at the breakpoint")
		}
		if err := d.Resume(s.ctx, stop.ThreadID); err != nil {
			t.Fatal(err)
		}
	}
	stop, err := d.Stopped(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.unmoved("stopped at a breakpoint")
	if err := errors.Join(d.ClearBreakpoints(s.ctx, file), d.Resume(s.ctx, stop.ThreadID)); err != nil {
		t.Fatal(err)
	}
	s.await(c, "the debuggee answers", time.Now(), visit.By("debuggee"))
	s.disconnect(d)
	s.cleared()
}

// TestProbesDoNotMeetTheDebuggee : a debuggee that answers everything with an error harms its clients and not the pod.
func TestProbesDoNotMeetTheDebuggee(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{change: withProbes})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	var words testkit.Output
	cmd := s.Command("run", "--target", "deployment/shop", "--steal", fmt.Sprintf("80:%d", s.port), "--linger", "0", "--", s.visitor(), "fail", fmt.Sprint(s.port))
	cmd.Stdout, cmd.Stderr = &words, &words
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("podstep said:\n%s", words.String())
		}
	})
	s.await(c, "the debuggee's errors come to its clients", began, func(r visit.Request) bool { return strings.Contains(r.Error, "on purpose") })
	s.unmoved("behind a debuggee that only fails")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the visitor ends by the signal
	s.cleared()
}

// TestProbesGoToTheDebuggeeWhileItRuns : a debuggee that is asked for it answers probes, and a breakpoint, also in a probe, makes the kubelet
// restart nothing.
func TestProbesGoToTheDebuggeeWhileItRuns(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{change: withProbes})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	file := filepath.Join(root(), "test/debuggees/go/shop/main.go")
	line := desk.LineOf(t, file, "<- the demo's breakpoint")
	d := s.Start("go")
	incoming := map[string]any{"mode": "steal", "ports": map[string]int{"80": s.port}, "probes": "debuggee"}
	if err := d.Launch(s.ctx, s.dlv(s.mirror("deployment/shop", map[string]any{"incoming": incoming})), nil); err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	probed := func(went string, since time.Time) func() bool {
		return func() bool {
			var listed struct{ Requests []requests.Summary }
			answer, err := d.Request(s.ctx, "podstep/requests", map[string]any{})
			if err == nil {
				err = answer.Decode(&listed)
			}
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(listed.Requests, func(r requests.Summary) bool {
				return r.Path == "/cart/probe" && r.Went == went && r.Came.After(since)
			})
		}
	}
	s.eventually("the debuggee answers a probe", probed(requests.Debuggee, time.Time{}))
	s.unmoved("the debuggee answers probes")
	if _, err := d.Request(s.ctx, "setBreakpoints", map[string]any{
		"source": map[string]string{"path": file}, "breakpoints": []any{map[string]int{"line": line}},
	}); err != nil {
		t.Fatal(err)
	}
	stop, err := d.Stopped(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.unmoved("stopped at a breakpoint that probes meet, too")
	if err := errors.Join(d.ClearBreakpoints(s.ctx, file), d.Resume(s.ctx, stop.ThreadID)); err != nil {
		t.Fatal(err)
	}
	went := time.Now()
	s.eventually("the debuggee answers probes again", probed(requests.Debuggee, went))
	s.await(c, "the debuggee answers", went, visit.By("debuggee"))
	s.unmoved("the debuggee answers probes again")
	s.disconnect(d)
	s.cleared()
}
