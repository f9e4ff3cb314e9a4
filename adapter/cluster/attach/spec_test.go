package attach

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "rewrite the specifications in testdata")
	goleak.VerifyTestMain(m)
}

const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// instance is container app of pod web-0, run as uid (0 or another), as its kubelet reports.
func instance(uid int64, needs Needs) Instance {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0", UID: "u-1", ResourceVersion: "7"},
		Spec: corev1.PodSpec{
			NodeName: "node-a", Containers: []corev1.Container{{Name: "sidecar"}, {Name: "app", SecurityContext: &corev1.SecurityContext{
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"MKNOD"}},
			}}},
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "app", ContainerID: "containerd://" + id,
			User: &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: uid, GID: uid + 1}},
		}}},
	}
	return Instance{Pod: pod, Container: "app", ID: id, Needs: needs}
}

func attacher() *Attacher { return &Attacher{Image: "podstep.dev/agent:1.2.3"} }

func golden(t *testing.T, name string, object any) {
	t.Helper()
	got, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".yaml")
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestEphemeralContainerHasWhatTheSessionNeedsAndNoMore(t *testing.T) {
	for name, in := range map[string]Instance{
		"steal-env":         instance(1000, Needs{Steal: true, Process: true}),
		"steal":             instance(0, Needs{Steal: true}),
		"steal-denied":      instance(1000, Needs{Steal: true, Process: true, Policy: Deny}),
		"mirror-env":        instance(0, Needs{Mirror: true, Process: true, Policy: FilteredOnly}),
		"env":               instance(1000, Needs{Process: true}),
		"env-root":          instance(0, Needs{Process: true}),
		"outgoing":          instance(1000, Needs{}),
		"outgoing-root":     instance(0, Needs{}),
		"env-unknown-user":  unknownUser(Needs{Process: true}),
		"outgoing-unknown":  unknownUser(Needs{}),
		"env-privileged":    privileged(Needs{Process: true}),
		"env-declared-user": declaredUser(Needs{Process: true}),
	} {
		t.Run(name, func(t *testing.T) { golden(t, "ephemeral-"+name, attacher().ephemeral(in, "podstep-abcdefghij")) })
	}
}

// unknownUser : neither kubelet nor specification say it; the image decides.
func unknownUser(needs Needs) Instance {
	in := instance(0, needs)
	in.Pod.Status.ContainerStatuses[0].User = nil
	return in
}

func privileged(needs Needs) Instance {
	in := instance(0, needs)
	in.Pod.Spec.Containers[1].SecurityContext.Privileged = ptr.To(true)
	return in
}

func declaredUser(needs Needs) Instance {
	in := unknownUser(needs)
	in.Pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](2000), RunAsGroup: ptr.To[int64](3000)}
	in.Pod.Spec.Containers[1].SecurityContext.RunAsUser = ptr.To[int64](2001)
	return in
}

func TestJobEntersTheTargetAndLeavesByItself(t *testing.T) {
	golden(t, "job-steal", attacher().job(instance(1000, Needs{Steal: true, Process: true}), "podstep-abcdefghij"))
	a := attacher()
	a.Agent.Namespace, a.Agent.Image = "tools", "mirror.example/agent:1"
	golden(t, "job-elsewhere", a.job(instance(1000, Needs{Mirror: true}), "podstep-abcdefghij"))
}

func TestTargetlessJobIsAdmittedEverywhere(t *testing.T) {
	golden(t, "job-targetless", attacher().targetlessJob("shop", "podstep-abcdefghij"))
}

func TestNamesAreNeverTheSame(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		name := newName()
		if seen[name] || len(name) > 20 {
			t.Fatalf("%q again, or too long", name)
		}
		seen[name] = true
	}
}
