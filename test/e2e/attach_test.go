//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"podstep.dev/internal/fault"
)

// agentOf is a key of a block: an agent of that kind and image.
func agentOf(kind, image string) map[string]any {
	return map[string]any{"agent": map[string]any{"kind": kind, "image": image, "linger": 0}}
}

// TestAnImageThatCannotBeHadIsAFault : in the kubelet's words, and without a second entry in the pod when it is tried again.
func TestAnImageThatCannotBeHadIsAFault(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pod := s.deploy(shop{})[0]
	// Nobody listens there, so that the node is refused at once.
	const image = "127.0.0.1:1/podstep/agent:none"
	for range 2 {
		s.fails(s.mirror("deployment/shop", off(), agentOf("ephemeral", image)), fault.AgentImage, image)
	}
	if agents := s.fresh(&pod).Spec.EphemeralContainers; len(agents) != 1 {
		t.Errorf("the pod has %d ephemeral containers, want one: %s", len(agents), marshal(agents))
	}
	s.fails(s.mirror("deployment/shop", off(), agentOf("job", image)), fault.AgentImage, image)
	// It is nobody's fault but the image's: another one works.
	if _, env := s.environment(s.mirror("deployment/shop", off())); !strings.Contains(strings.Join(env, " "), "SHOP_COLOUR=orange") {
		t.Errorf("the environment is %q", env)
	}
}

// TestAnImageWithoutTheAgentIsAFault : whether its own program runs or not.
func TestAnImageWithoutTheAgentIsAFault(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{})
	for _, kind := range []string{"ephemeral", "job"} {
		s.fails(s.mirror("deployment/shop", off(), agentOf(kind, testImage)), fault.AgentImage, "image")
	}
	s.cleared()
}

// fails runs a session that is to end with a fault.
func (s *stage) fails(mirror map[string]any, id fault.ID, words string) {
	s.t.Helper()
	out, err := s.run(mirror, s.visitor(), "env")
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("[podstep-%d]", id)) || !strings.Contains(err.Error(), words) {
		s.t.Errorf("got %q, %v; want fault %d with %q", out, err, id, words)
	}
}

// TestSessionsThatBeginAtOnceShareAnAgent : of two agents with rules in one pod the second finds the place taken.
func TestSessionsThatBeginAtOnceShareAnAgent(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pod := s.deploy(shop{})[0]
	var group sync.WaitGroup
	for port := range 4 {
		group.Go(func() {
			m := s.mirror("deployment/shop", map[string]any{"incoming": map[string]any{"mode": "steal", "ports": map[string]int{fmt.Sprint(90 + port): s.port}}})
			if out, err := s.run(m, s.visitor(), "env"); err != nil || !strings.Contains(out, "SHOP_COLOUR=orange") {
				t.Errorf("session %d: %q, %v", port, out, err)
			}
		})
	}
	group.Wait()
	running := 0
	for _, status := range s.fresh(&pod).Status.EphemeralContainerStatuses {
		if status.State.Running != nil {
			running++
		}
		if status.State.Terminated != nil && status.State.Terminated.ExitCode != 0 && status.State.Terminated.ExitCode != 75 {
			t.Errorf("an agent ended: %s", marshal(status.State))
		}
	}
	if running > 1 {
		t.Errorf("%d agents run in one pod", running)
	}
	s.cleared()
}

// TestAgentRunsInANamespaceOfItsOwn : the job goes there, and can be had although the target's namespace admits no such pod.
func TestAgentRunsInANamespaceOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newStage(t, "pod-security.kubernetes.io/enforce=baseline")
	pod := s.deploy(shop{})[0]
	tools := newStage(t)
	agent := map[string]any{"agent": map[string]any{"kind": "auto", "namespace": tools.ns, "linger": 0}}
	s.service("shop", "shop")
	c := s.customer("http://shop")
	d := s.begin(c, s.mirror("deployment/shop", agent))
	if entries := s.fresh(&pod).Spec.EphemeralContainers; len(entries) > 0 {
		t.Errorf("the target's pod was touched: %s", marshal(entries))
	}
	var there []corev1.Pod
	for _, p := range tools.allPods() {
		if p.Labels["app.kubernetes.io/managed-by"] == "podstep" {
			there = append(there, p)
		}
	}
	if len(there) != 1 || there[0].Spec.NodeName != pod.Spec.NodeName {
		t.Errorf("agents in %s: %s", tools.ns, marshal(there))
	}
	s.disconnect(d)
	tools.cleared()
	s.cleared()
}
