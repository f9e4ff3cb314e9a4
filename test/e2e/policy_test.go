//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// stealAnnotation is what a policy is told by.
const stealAnnotation = "podstep.dev/steal"

// TestPolicyBindsTheEphemeralAgent : the policy of docs/policy admits what podstep asks for, and nothing that goes beyond the
// annotations or is no agent of podstep's.
func TestPolicyBindsTheEphemeralAgent(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pod := &s.deploy(shop{})[0]
	s.policy()
	s.eventually("the policy is in force", func() bool {
		return refusal(s.addDry(pod, corev1.EphemeralContainerCommon{Name: "podstep-test", Image: "elsewhere"})) != ""
	})

	d := s.launched(s.mirror("deployment/shop", linger("ephemeral", 0)))
	agent := s.fresh(pod).Spec.EphemeralContainers[0]
	for _, command := range [][]string{{"version"}, {"serve", "--pid", "1"}, {"resident", "--steal", "allow"}} {
		if out, err := s.exec(s.ctx, s.ns, pod.Name, agent.Name, append([]string{"/podstep-agent"}, command...)...); err == nil || !strings.Contains(err.Error(), "may be run") {
			t.Errorf("%q was run in the agent: %s, %v", command, out, err)
		}
	}
	if out, err := s.exec(s.ctx, s.ns, pod.Name, agent.Name, "/podstep-agent", "sessions"); err != nil || !strings.Contains(string(out), `"subscriptions"`) {
		t.Errorf("the agent's sessions: %s, %v", out, err)
	}
	s.disconnect(d)

	for _, word := range []string{"allow", "filtered-only", "deny", "dney"} {
		s.annotate(pod, word)
		t.Run(word, func(t *testing.T) {
			// What podstep itself does is admitted under each word.
			if _, err := s.run(map[string]any{"target": "pod/" + pod.Name, "incoming": map[string]any{"mode": "mirror"}, "agent": linger("ephemeral", 0)["agent"]}, "true"); err != nil {
				t.Error(err)
			}
			for _, c := range ephemeralCases() {
				changed := *agent.EphemeralContainerCommon.DeepCopy()
				changed.Name = "podstep-other"
				changed.Args[2] = changed.Name
				c.change(&changed)
				got, want := refusal(s.addDry(pod, changed)), c.refused[word]
				if want == "" && got != "" || !strings.Contains(got, want) {
					t.Errorf("%s: refused with %q, want %q", c.name, got, want)
				}
			}
		})
	}
	s.annotate(pod, "")
	s.patchNamespace(`{"metadata":{"annotations":{"podstep.dev/steal":"deny"}}}`)
	s.eventually("the namespace's word is in force", func() bool {
		changed := *agent.EphemeralContainerCommon.DeepCopy()
		changed.Name = "other"
		return strings.Contains(refusal(s.addDry(pod, changed)), "no capability NET_ADMIN")
	})
	s.cleared()
}

type policyCase[T any] struct {
	name   string
	change func(*T)
	// refused has words of the refusal under each word of the annotation; none: it is admitted.
	refused map[string]string
}

// under says the same for each of the words.
func under(refusal string, words ...string) map[string]string {
	all := map[string]string{}
	for _, word := range words {
		all[word] = refusal
	}
	return all
}

// ephemeralCases change the agent of a session that steals.
func ephemeralCases() []policyCase[corev1.EphemeralContainerCommon] {
	always := func(refusal string) map[string]string {
		return under(refusal, "allow", "filtered-only", "deny", "dney")
	}
	yes, no := true, false
	type agent = corev1.EphemeralContainerCommon
	return []policyCase[agent]{
		{"as podstep makes it", func(*agent) {}, map[string]string{"filtered-only": "need --steal filtered-only", "deny": "no capability NET_ADMIN", "dney": "no capability NET_ADMIN"}},
		{"filtered only", func(c *agent) { c.Args[4] = "filtered-only" }, under("no capability NET_ADMIN", "deny", "dney")},
		{"denied, with the capability", func(c *agent) { c.Args[4] = "deny" }, under("no capability NET_ADMIN", "deny", "dney")},
		{"denied", func(c *agent) { c.Args[4] = "deny"; withoutNetAdmin(c.SecurityContext) }, nil},
		{"not denied, without the capability", func(c *agent) { withoutNetAdmin(c.SecurityContext) }, map[string]string{
			"filtered-only": "need --steal filtered-only", "deny": "need --steal deny", "dney": "need --steal deny",
		}},
		{"two words", func(c *agent) { c.Args[4] = "deny"; c.Args = append(c.Args, "--steal=allow") }, always("arguments begin with")},
		{"one dash", func(c *agent) { c.Args[4] = "deny"; c.Args = append(c.Args, "-steal", "allow") }, always("arguments begin with")},
		{"another program", func(c *agent) { c.Args[0] = "serve" }, always("arguments begin with")},
		{"no arguments", func(c *agent) { c.Args = nil }, always("arguments begin with")},
		{"a command", func(c *agent) { c.Command = []string{"/podstep-agent"} }, always("command must not be set")},
		{"another image", func(c *agent) { c.Image = "docker.example/podstep.dev/agent:1" }, always("its own image only")},
		{"SYS_ADMIN", func(c *agent) {
			c.SecurityContext.Capabilities.Add = append(c.SecurityContext.Capabilities.Add, "SYS_ADMIN")
		}, always("at most the capabilities")},
		{"privileged", func(c *agent) { c.SecurityContext.Privileged, c.SecurityContext.AllowPrivilegeEscalation = &yes, nil }, always("not privileged")},
		{"it may escalate", func(c *agent) { c.SecurityContext.AllowPrivilegeEscalation = nil }, always("not privileged")},
		{"it may write", func(c *agent) { c.SecurityContext.ReadOnlyRootFilesystem = &no }, always("not privileged")},
		{"an environment", func(c *agent) { c.Env = []corev1.EnvVar{{Name: "GODEBUG", Value: "x"}} }, always("no volumes and no environment")},
		{"another name", func(c *agent) { c.Name = "debugger"; c.Args[4] = "deny" }, under("no capability NET_ADMIN", "deny", "dney")},
		{"no agent at all", func(c *agent) {
			c.Name, c.Image, c.Args = "debugger", "busybox", nil
			withoutNetAdmin(c.SecurityContext)
		}, nil},
	}
}

func withoutNetAdmin(sc *corev1.SecurityContext) {
	sc.Capabilities.Add = []corev1.Capability{"NET_RAW", "SYS_PTRACE"}
}

// TestPolicyBindsTheAgentsOwnPod : where agents have pods of their own, nothing else can be made that has what they have.
func TestPolicyBindsTheAgentsOwnPod(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{})
	s.policy()
	elsewhere := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "podstep-test"}}
	elsewhere.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "agent", Image: "elsewhere"}}}
	s.eventually("the policy is in force", func() bool { return refusal(s.makeDry(elsewhere)) != "" })

	d := s.launched(s.mirror("deployment/shop", linger("job", 0)))
	jobs, err := s.client.BatchV1().Jobs(s.ns).List(s.ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=podstep"})
	if err != nil || len(jobs.Items) != 1 {
		t.Fatalf("jobs of the agent: %+v, %v", jobs, err)
	}
	made := jobs.Items[0]
	pods, err := s.client.CoreV1().Pods(s.ns).List(s.ctx, metav1.ListOptions{LabelSelector: "job-name=" + made.Name})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("pods of the agent: %+v, %v", pods, err)
	}
	if out, err := s.exec(s.ctx, s.ns, pods.Items[0].Name, "", "/podstep-agent", "version"); err == nil || !strings.Contains(err.Error(), "may be run") {
		t.Errorf("a program was run in the agent: %s, %v", out, err)
	}
	s.disconnect(d)
	standing := s.stand(made)

	for _, word := range []string{"allow", "filtered-only", "deny"} {
		s.patchNamespace(fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, stealAnnotation, word))
		for _, c := range jobCases() {
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "podstep-other", Labels: made.Labels}}
			job.Spec.Template.Spec = *made.Spec.Template.Spec.DeepCopy()
			c.change(&job.Spec.Template.Spec)
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "podstep-other", Labels: made.Labels}, Spec: job.Spec.Template.Spec}
			want := c.refused[word]
			var got string
			// The API server hears of the namespace's annotation a little later.
			s.eventually(fmt.Sprintf("%s, %s: refused with %q, want %q", word, c.name, got, want), func() bool {
				ofJob, ofPod := refusal(s.makeDry(job)), refusal(s.makePodDry(pod))
				got = ofJob + ofPod
				return want == "" && got == "" || want != "" && strings.Contains(ofJob, want) && strings.Contains(ofPod, want)
			})
		}
	}
	// A stricter word binds what is made under it; what was there can still be removed, and the garbage collector's way is an update.
	change := []byte(`{"spec":{"template":{"spec":{"nodeSelector":{"a":"b"}}}}}`)
	if _, err := s.client.BatchV1().Jobs(s.ns).Patch(s.ctx, standing.Name, types.MergePatchType, change, metav1.PatchOptions{}); !strings.Contains(refusal(err), "no capability NET_ADMIN") {
		t.Errorf("an agent of before a stricter word is changed: %v", err)
	}
	if err := s.client.BatchV1().Jobs(s.ns).Delete(s.ctx, standing.Name, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
		t.Error(err)
	}
	s.cleared()
}

// stand makes a job as the agent's, without a pod yet.
func (s *stage) stand(made batchv1.Job) *batchv1.Job {
	s.t.Helper()
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "podstep-standing", Labels: made.Labels}}
	job.Spec.Suspend = ptr.To(true)
	job.Spec.Template.Spec = *made.Spec.Template.Spec.DeepCopy()
	job, err := s.client.BatchV1().Jobs(s.ns).Create(s.ctx, job, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return job
}

// jobCases change the pod of a session that steals.
func jobCases() []policyCase[corev1.PodSpec] {
	always := func(refusal string) map[string]string { return under(refusal, "allow", "filtered-only", "deny") }
	yes := true
	return []policyCase[corev1.PodSpec]{
		{"as podstep makes it", func(*corev1.PodSpec) {}, map[string]string{"filtered-only": "need --steal filtered-only", "deny": "no capability NET_ADMIN"}},
		{"denied", func(p *corev1.PodSpec) {
			p.Containers[0].Args[4] = "deny"
			p.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"SYS_ADMIN", "SYS_PTRACE", "NET_RAW"}
		}, nil},
		{"a volume", func(p *corev1.PodSpec) {
			p.Volumes = []corev1.Volume{{Name: "node", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
		}, always("no volumes")},
		{"a token", func(p *corev1.PodSpec) { p.AutomountServiceAccountToken = &yes }, always("no token")},
		{"the node's network", func(p *corev1.PodSpec) { p.HostNetwork = true }, always("only process ids")},
		{"another image", func(p *corev1.PodSpec) { p.Containers[0].Image = "busybox" }, always("its own image only")},
		{"a command", func(p *corev1.PodSpec) { p.Containers[0].Command = []string{"sh"} }, always("its own image only")},
		{"privileged", func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.Privileged = &yes }, always("not privileged")},
		{"two containers", func(p *corev1.PodSpec) {
			p.Containers = append(p.Containers, *p.Containers[0].DeepCopy())
			p.Containers[1].Name = "second"
		}, always("one container")},
	}
}

// policy makes the objects of docs/policy, for this namespace alone, and removes them with the test.
func (s *stage) policy() {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(root(), "docs/policy/podstep-steal.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var object unstructured.Unstructured
		if err := yaml.UnmarshalStrict(document, &object.Object); err != nil {
			s.t.Fatal(err)
		}
		object.SetName(object.GetName() + "-" + s.ns)
		if of, is, _ := unstructured.NestedString(object.Object, "spec", "policyName"); is {
			here := map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": s.ns}}
			s.set(object, of+"-"+s.ns, "spec", "policyName")
			s.set(object, here, "spec", "matchResources", "namespaceSelector")
		}
		resource := schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"}
		if strings.HasSuffix(object.GetKind(), "Binding") {
			resource.Resource = "validatingadmissionpolicybindings"
		}
		if _, err := s.dynamic.Resource(resource).Create(s.ctx, &object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() {
			if err := s.dynamic.Resource(resource).Delete(context.WithoutCancel(s.ctx), object.GetName(), metav1.DeleteOptions{}); err != nil {
				s.t.Error(err)
			}
		})
	}
}

func (s *stage) set(object unstructured.Unstructured, value any, path ...string) {
	s.t.Helper()
	if err := unstructured.SetNestedField(object.Object, value, path...); err != nil {
		s.t.Fatal(err)
	}
}

// annotate sets the pod's word; "" removes it.
func (s *stage) annotate(pod *corev1.Pod, word string) {
	s.t.Helper()
	value := marshal(word)
	if word == "" {
		value = []byte("null")
	}
	s.patch("Pod", pod.Name, fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, stealAnnotation, value))
}

func (s *stage) patchNamespace(patch string) {
	s.t.Helper()
	if _, err := s.client.CoreV1().Namespaces().Patch(s.ctx, s.ns, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// addDry asks whether an ephemeral container would be admitted.
func (s *stage) addDry(pod *corev1.Pod, c corev1.EphemeralContainerCommon) error {
	body, err := json.Marshal(map[string]any{"spec": map[string]any{"ephemeralContainers": []corev1.EphemeralContainerCommon{c}}})
	if err != nil {
		return err
	}
	_, err = s.client.CoreV1().Pods(s.ns).Patch(s.ctx, pod.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, "ephemeralcontainers")
	return err
}

func (s *stage) makeDry(job *batchv1.Job) error {
	_, err := s.client.BatchV1().Jobs(s.ns).Create(s.ctx, job, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

func (s *stage) makePodDry(pod *corev1.Pod) error {
	_, err := s.client.CoreV1().Pods(s.ns).Create(s.ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// refusal is what a policy of podstep's says; "" when it was none.
func refusal(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
