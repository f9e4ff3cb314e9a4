//go:build linux

package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// caps are capabilities.
type caps = []corev1.Capability

// TestBothAgentsStealAndMirrorByBothTransports runs every way to the target, and reads in the cluster what the agent is allowed.
func TestBothAgentsStealAndMirrorByBothTransports(t *testing.T) {
	cases := []struct {
		name, kind, mode, transport string
		added                       caps
	}{
		{"ephemeral steal", "ephemeral", "steal", "websocket", caps{"NET_ADMIN", "SYS_PTRACE"}},
		{"ephemeral steal spdy", "ephemeral", "steal", "spdy", caps{"NET_ADMIN", "SYS_PTRACE"}},
		{"ephemeral mirror", "ephemeral", "mirror", "websocket", caps{"NET_RAW", "SYS_PTRACE"}},
		{"job steal", "job", "steal", "websocket", caps{"SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN"}},
		{"job steal spdy", "job", "steal", "spdy", caps{"SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN"}},
		{"job mirror", "job", "mirror", "websocket", caps{"SYS_ADMIN", "SYS_PTRACE", "NET_RAW"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.Env = append(s.Env, "PODSTEP_TRANSPORT="+c.transport)
			pod := s.deploy(shop{})[0]
			s.service("shop", "shop")
			customer := s.customer("http://shop")
			began := time.Now()
			d := s.begin(customer, s.mirror("deployment/shop", linger(c.kind, 0), map[string]any{
				"incoming": map[string]any{"mode": c.mode, "ports": map[string]int{"80": s.port}},
			}))
			if method := map[string]string{"websocket": "GET", "spdy": "POST"}[c.transport]; !strings.Contains(strings.Join(execs(d), " "), method) {
				t.Errorf("exec was requested by %v, want %s for %s", execs(d), method, c.transport)
			}
			if c.kind == "ephemeral" {
				checkEphemeral(t, s.fresh(&pod), c.added)
			} else {
				s.checkJob(&pod, c.added)
			}
			s.disconnect(d)
			if failed := customer.Failed(began); c.mode == "mirror" && len(failed) > 0 {
				t.Errorf("%d requests failed during a mirror%s", len(failed), visit.Summary(failed))
			}
			s.served(customer, time.Now())
			s.cleared()
		})
	}
}

// begin starts a session with a breakpoint, waits for the first stop, whose request comes from the customer, and for the
// target's answers meanwhile; then it lets the debuggee go on.
func (s *stage) begin(c *customer, mirror map[string]any) *desk.Session {
	s.t.Helper()
	file := filepath.Join(root(), "test/debuggees/go/shop/main.go")
	d := s.Start("go")
	if err := d.Launch(s.ctx, s.dlv(mirror), map[string][]int{file: {desk.LineOf(s.t, file, "<- the demo's breakpoint")}}); err != nil {
		s.t.Fatalf("%v\n%s", err, d.Outputs())
	}
	stop, err := d.Stopped(s.ctx)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, d.Outputs())
	}
	stopped := time.Now()
	variables, err := d.TopVariables(s.ctx, stop.ThreadID)
	if err != nil {
		s.t.Fatal(err)
	}
	if got := strings.Trim(variables["client"], `"`); !strings.HasPrefix(got, c.address()+":") {
		s.t.Errorf("the debuggee sees the client as %q, want %s:PORT", got, c.address())
	}
	s.await(c, "the target answers while the debugger is stopped", stopped, visit.By("target"))
	if err := d.ClearBreakpoints(s.ctx, file); err != nil {
		s.t.Fatal(err)
	}
	if err := d.Resume(s.ctx, stop.ThreadID); err != nil {
		s.t.Fatal(err)
	}
	return d
}

// execs are the methods of the requests for exec in podstep's log.
func execs(d *desk.Session) (methods []string) {
	for line := range strings.Lines(d.Log.String()) {
		if strings.Contains(line, "/exec\"") {
			_, method, _ := strings.Cut(line, `"method": "`)
			method, _, _ = strings.Cut(method, `"`)
			methods = append(methods, method)
		}
	}
	return methods
}

// checkEphemeral reads what the one agent in a pod is allowed.
func checkEphemeral(t *testing.T, pod *corev1.Pod, added caps) {
	t.Helper()
	if len(pod.Spec.EphemeralContainers) != 1 {
		t.Fatalf("%s has %d ephemeral containers, want one", pod.Name, len(pod.Spec.EphemeralContainers))
	}
	c := pod.Spec.EphemeralContainers[0]
	checkConfined(t, c.SecurityContext, added)
	if c.TargetContainerName != "shop" {
		t.Errorf("the agent's target is the container %q", c.TargetContainerName)
	}
	if pod.Spec.HostPID || pod.Spec.ShareProcessNamespace != nil || len(c.VolumeMounts) > 0 {
		t.Errorf("the pod was opened to the agent: %s", marshal(c))
	}
}

// checkConfined reads a security context of an agent that adds capabilities.
func checkConfined(t *testing.T, sc *corev1.SecurityContext, added caps) {
	t.Helper()
	got := slices.Sorted(slices.Values(sc.Capabilities.Add))
	if diff := cmp.Diff(slices.Sorted(slices.Values(added)), got); diff != "" {
		t.Errorf("added capabilities (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(caps{"ALL"}, sc.Capabilities.Drop); diff != "" {
		t.Errorf("dropped capabilities (-want +got):\n%s", diff)
	}
	if sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem {
		t.Error("the agent may write to its root filesystem")
	}
	if sc.Privileged != nil && *sc.Privileged {
		t.Error("the agent is privileged")
	}
	if sc.SeccompProfile == nil || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the agent's seccomp profile is %v", sc.SeccompProfile)
	}
}

// checkJob reads what the one agent in a pod of its own is allowed, and for how long; it left no entry in the target's pod.
func (s *stage) checkJob(pod *corev1.Pod, added caps) {
	s.t.Helper()
	if n := len(s.fresh(pod).Spec.EphemeralContainers); n != 0 {
		s.t.Errorf("%d ephemeral containers are in the target's pod", n)
	}
	jobs, err := s.client.BatchV1().Jobs(s.ns).List(s.ctx, metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	if len(jobs.Items) != 1 {
		s.t.Fatalf("%d jobs, want one", len(jobs.Items))
	}
	job := jobs.Items[0].Spec
	checkLimits(s.t, job)
	spec := job.Template.Spec
	checkConfined(s.t, spec.Containers[0].SecurityContext, added)
	if spec.NodeName != pod.Spec.NodeName || len(spec.Volumes) != 0 || spec.HostNetwork || spec.HostIPC {
		s.t.Errorf("the agent's pod: node %s (target's %s), volumes %v, host network %v", spec.NodeName, pod.Spec.NodeName, spec.Volumes, spec.HostNetwork)
	}
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		s.t.Error("the agent's pod has a token")
	}
	if job.Template.Annotations["sidecar.istio.io/inject"] != "false" {
		s.t.Error("a mesh may put a sidecar into the agent's pod")
	}
}

func checkLimits(t *testing.T, job batchv1.JobSpec) {
	t.Helper()
	if job.ActiveDeadlineSeconds == nil || job.TTLSecondsAfterFinished == nil || *job.TTLSecondsAfterFinished != 0 || job.BackoffLimit == nil || *job.BackoffLimit != 0 {
		t.Errorf("the job may stay, or run again: %s", marshal(job))
	}
	limits := job.Template.Spec.Containers[0].Resources.Limits
	if limits.Memory().IsZero() || limits.Cpu().IsZero() {
		t.Error("the agent's pod has no limits")
	}
}

// TestAgentForEnvironmentAloneAddsNothing : a session that takes no traffic has an agent with no more rights than the target's own
// process, and one that looks into no process is nobody.
func TestAgentForEnvironmentAloneAddsNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pod := s.deploy(shop{})[0]
	s.reachable("stock", 81)
	out, err := s.run(s.mirror("deployment/shop", off()), s.visitor(), "env")
	if err != nil || !strings.Contains(out, "SHOP_COLOUR=orange") {
		t.Errorf("the environment is %q: %v", out, err)
	}
	out, err = s.run(s.mirror("deployment/shop", off(), map[string]any{"env": map[string]any{"include": []string{}}}), s.visitor(), "get", "http://stock:81/price/12")
	if err != nil || out != "200\n" {
		t.Errorf("the stock answers %q: %v", out, err)
	}
	agents := s.fresh(&pod).Spec.EphemeralContainers
	slices.SortFunc(agents, func(a, b corev1.EphemeralContainer) int {
		return strings.Compare(a.TargetContainerName, b.TargetContainerName)
	})
	if len(agents) != 2 || agents[0].TargetContainerName != "" || agents[1].TargetContainerName != "shop" {
		t.Fatalf("want an agent in the pod alone, and one in the container's process namespace: %s", marshal(agents))
	}
	for _, agent := range agents {
		if sc := agent.SecurityContext; sc.Capabilities != nil && len(sc.Capabilities.Add) > 0 {
			t.Errorf("an agent has the capabilities %v", sc.Capabilities.Add)
		}
	}
	if nobody := agents[0].SecurityContext.RunAsNonRoot; nobody == nil || !*nobody {
		t.Error("an agent that looks into no process is root")
	}
	s.cleared()
}
