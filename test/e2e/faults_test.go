//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// harm is something that befalls a session while requests flow.
type harm struct {
	name string
	// kind of the agent.
	kind string
	// change is applied to the shop's pods, if not nil.
	change func(*corev1.PodTemplateSpec)
	// do does it.
	do func(*stage, *desk.Session, *corev1.Pod)
	// within is how long the pod's clients may be without an answer, but for requests that the debuggee had already. It is longer
	// than a second only where the target itself is away.
	within time.Duration
	// over says that the session ends by it. Else it has to come back by itself.
	over bool
	// unnoticed says that the session need not be interrupted at all.
	unnoticed bool
}

// Where the target serves on, a request that nobody had answered is lost only with the connection it was on: those under way to the
// debuggee at that moment. Nothing that is asked later may fail.
const atOnce = time.Second

// TestSessionSurvives does each harm to one session while a customer asks, and measures what it costs the pod's clients. Afterwards
// nothing is left.
func TestSessionSurvives(t *testing.T) {
	for _, h := range []harm{
		{name: "agent killed", kind: "ephemeral", do: killAgent, within: atOnce},
		{name: "agent of the job kind killed", kind: "job", do: killAgent, within: atOnce},
		{name: "agent of the job kind out of memory", kind: "job", do: exhaustAgent, within: atOnce},
		{name: "target crashed", kind: "ephemeral", do: crashTarget, within: 10 * time.Second},
		{name: "target out of memory", kind: "ephemeral", change: withMemory("64Mi"), do: exhaustTarget, within: 10 * time.Second},
		{name: "target restarted by its liveness probe", kind: "ephemeral", change: withSickness, do: sickenTarget, within: 15 * time.Second},
		{name: "target's pod deleted", kind: "ephemeral", do: deletePod, within: 10 * time.Second},
		{name: "podstep killed", kind: "ephemeral", over: true, do: killPodstep, within: atOnce},
		{name: "podstep killed, agent of the job kind", kind: "job", over: true, do: killPodstep, within: atOnce},
	} {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			suffer(t, h)
		})
	}
}

// TestSessionSurvivesTheCluster does the same with harms that everybody in the cluster feels: nothing else runs meanwhile.
func TestSessionSurvivesTheCluster(t *testing.T) {
	for _, h := range []harm{
		{name: "link cut for 5 s", kind: "ephemeral", do: disturb("cut", "5s"), within: atOnce},
		{name: "link silent for 5 s", kind: "ephemeral", do: disturb("freeze", "5s"), within: 6 * time.Second, unnoticed: true},
		{name: "link silent for 60 s", kind: "ephemeral", do: disturb("freeze", "60s"), within: 20 * time.Second},
		{name: "link silent for good", kind: "ephemeral", do: disturb("lose"), within: 20 * time.Second},
		{name: "API server restarted", kind: "ephemeral", do: disturb("restart", "kube-apiserver"), within: atOnce},
		{name: "kubelet restarted", kind: "ephemeral", do: restartKubelet, within: atOnce, unnoticed: true},
	} {
		t.Run(h.name, func(t *testing.T) { suffer(t, h) })
	}
}

// suffer is the test of one harm.
func suffer(t *testing.T, h harm) {
	if os.Getenv("PODSTEP_E2E_FAULT") == "" {
		t.Skip("this cluster cannot be disturbed: there is no PODSTEP_E2E_FAULT")
	}
	s := newStage(t)
	pod := s.deploy(shop{change: h.change})[0]
	s.service("shop", "shop")
	c := s.customer("http://shop")
	d := s.launched(s.mirror("deployment/shop", linger(h.kind, 0)))
	s.await(c, "the debuggee answers", time.Now(), visit.By("debuggee"))
	began := time.Now()
	h.do(s, d, s.fresh(&pod))
	if h.over {
		s.exited(d)
		s.await(c, "the target answers again", began, visit.By("target"))
	} else {
		s.recovered(c, d, began, h.unnoticed)
	}
	back := time.Now()
	s.eventually("requests since then are known", func() bool { return c.Last().After(back) })
	report(t, h, c, began, back)
	if !h.over {
		s.disconnect(d)
	}
	s.cleared()
	s.served(c, time.Now())
}

// recovered waits until the session is interrupted, unless it need not be, and the debuggee answers again.
func (s *stage) recovered(c *customer, d *desk.Session, began time.Time, unnoticed bool) {
	s.t.Helper()
	words := []string{"lost the link to", "no longer stealing from", "waiting for a new pod", "cannot attach to"}
	interrupted := func() bool {
		said := d.Outputs()
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(said, w) })
	}
	if unnoticed {
		// Ten seconds are time enough for it to notice.
		until := began.Add(10 * time.Second)
		s.eventually("the harm had its time", func() bool { return interrupted() || time.Now().After(until) })
	} else {
		s.atLength("the session notices", d, interrupted)
	}
	noticed := time.Now()
	s.atLength("the debuggee answers again", d, func() bool {
		_, found := c.First(noticed, visit.By("debuggee"))
		return found
	})
}

// atLength waits for what may take more than a minute.
func (s *stage) atLength(what string, d *desk.Session, holds func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("not in time: %s\n%s", what, d.Outputs())
		}
	}
}

// report measures what the clients felt between began and back, and fails the test when it is more than h allows.
func report(t *testing.T, h harm, c *customer, began, back time.Time) {
	t.Helper()
	all := c.All(began.Add(-time.Second), func(r visit.Request) bool { return r.Began.Before(back) })
	slices.SortFunc(all, func(a, b visit.Request) int { return a.Began.Compare(b.Began) })
	// The outage: the longest time in which no request was begun that came to be answered.
	last, outage, slowest, failed, late := began, time.Duration(0), time.Duration(0), 0, 0
	for _, r := range all {
		switch {
		case r.By == "" && r.Began.After(began):
			failed++
			late++
		case r.By == "" && r.Ended().After(began):
			failed++ // it was under way
		case r.By != "" && r.Began.After(began):
			outage, slowest = max(outage, r.Began.Sub(last)), max(slowest, r.Took)
			last = r.Began
		}
	}
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	t.Logf("%s: no answer for %v, slowest answer %v, %d of %d requests failed (%d begun after the harm), as before after %v%s",
		h.name, ms(outage), ms(slowest), failed, len(all), late, ms(back.Sub(began)), visit.Summary(c.Failed(began)))
	if outage > h.within {
		t.Errorf("the pod's clients were without an answer for %v, want at most %v", outage, h.within)
	}
}

// killAgent ends the agent without warning.
func killAgent(s *stage, _ *desk.Session, pod *corev1.Pod) {
	if err := s.signal(s.ctx, pod.Spec.NodeName, "KILL", s.agent(pod)); err != nil {
		s.t.Fatal(err)
	}
}

// agent is the process of the resident agent beside the pod, on the pod's node.
func (s *stage) agent(pod *corev1.Pod) int {
	s.t.Helper()
	for _, place := range append([]corev1.Pod{*pod}, s.agentPods()...) {
		if pids := s.processes(&place, "podstep-agent"); len(pids) > 0 {
			return slices.Min(pids) // those that join came later
		}
	}
	s.t.Fatal("there is no agent")
	return 0
}

// processes are those of a name in a pod, by their numbers on its node.
func (s *stage) processes(pod *corev1.Pod, name string) (pids []int) {
	s.t.Helper()
	seen, err := s.look(s.ctx, pod)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range seen.Processes {
		if p.Name == name {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// agentPods are the pods of agents of the job kind.
func (s *stage) agentPods() (pods []corev1.Pod) {
	s.t.Helper()
	all, err := s.client.CoreV1().Pods(s.ns).List(s.ctx, metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, pod := range all.Items {
		if len(ours("pod", pod.Name)) > 0 {
			pods = append(pods, pod)
		}
	}
	return pods
}

// exhaustAgent has another process take all memory that the agent's pod may have: the kernel's choice is the agent.
func exhaustAgent(s *stage, _ *desk.Session, pod *corev1.Pod) {
	s.exhaust(pod.Spec.NodeName, s.agent(pod))
}

// exhaust takes the memory of the process's cgroup until the process is killed.
func (s *stage) exhaust(node string, pid int) {
	s.t.Helper()
	command := append(strings.Fields(os.Getenv("PODSTEP_E2E_EXEC")), "-node", node, s.visitor(), "exhaust", fmt.Sprint(pid))
	out, err := exec.CommandContext(s.ctx, command[0], command[1:]...).CombinedOutput()
	var ended *exec.ExitError
	if errors.As(err, &ended) && !ended.Exited() {
		return // the container was ended with all that was in its cgroup
	}
	if err != nil {
		s.t.Fatalf("%q: %v\n%s", command, err, out)
	}
}

// crashTarget ends the shop; the kubelet starts it again.
func crashTarget(s *stage, _ *desk.Session, pod *corev1.Pod) {
	if err := s.signal(s.ctx, pod.Spec.NodeName, "KILL", s.shopIn(pod)); err != nil {
		s.t.Fatal(err)
	}
}

// shopIn is the shop's process on the pod's node.
func (s *stage) shopIn(pod *corev1.Pod) int {
	s.t.Helper()
	pids := s.processes(pod, "shop")
	if len(pids) != 1 {
		s.t.Fatalf("%d shops in %s", len(pids), pod.Name)
	}
	return pids[0]
}

// exhaustTarget has the shop's container run out of its memory.
func exhaustTarget(s *stage, _ *desk.Session, pod *corev1.Pod) {
	s.exhaust(pod.Spec.NodeName, s.shopIn(pod))
}

func withMemory(limit string) func(*corev1.PodTemplateSpec) {
	return func(t *corev1.PodTemplateSpec) {
		t.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)}
	}
}

// withSickness has the kubelet restart the shop when it cannot be reached at a port of its own.
func withSickness(t *corev1.PodTemplateSpec) {
	t.Spec.Containers[0].LivenessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/cart/probe", Port: intstr.FromInt32(80)}},
		PeriodSeconds: 1, FailureThreshold: 2, TimeoutSeconds: 1,
	}
}

// sickenTarget stops the shop, so that its probes fail.
func sickenTarget(s *stage, _ *desk.Session, pod *corev1.Pod) {
	if err := s.signal(s.ctx, pod.Spec.NodeName, "STOP", s.shopIn(pod)); err != nil {
		s.t.Fatal(err)
	}
}

func deletePod(s *stage, _ *desk.Session, pod *corev1.Pod) {
	if err := s.client.CoreV1().Pods(s.ns).Delete(s.ctx, pod.Name, metav1.DeleteOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func killPodstep(s *stage, d *desk.Session, _ *corev1.Pod) {
	desk.Kill(s.t, d.Cmd.Process.Pid, syscall.SIGKILL)
}

// disturb asks the cluster for a fault; see PODSTEP_E2E_FAULT.
func disturb(args ...string) func(*stage, *desk.Session, *corev1.Pod) {
	return func(s *stage, _ *desk.Session, _ *corev1.Pod) {
		s.t.Helper()
		command := append(strings.Fields(os.Getenv("PODSTEP_E2E_FAULT")), args...)
		if out, err := exec.CommandContext(s.ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			s.t.Fatalf("%q: %v\n%s", command, err, out)
		}
	}
}

func restartKubelet(s *stage, d *desk.Session, pod *corev1.Pod) {
	disturb("-node", pod.Spec.NodeName, "restart", "kubelet")(s, d, pod)
}
