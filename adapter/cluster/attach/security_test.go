package attach

import (
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestSecurityPageHasTheCapabilities holds the table of docs/security.md to what is asked for.
func TestSecurityPageHasTheCapabilities(t *testing.T) {
	page, err := os.ReadFile("../../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	user := map[int64]string{0: "uid 0", 1000: "the target's user", ordinary.uid: "65532"}
	ephemeral := func(uid int64, needs Needs) string {
		c := attacher().ephemeral(instance(uid, needs), "podstep-test")
		if needs == (Needs{Process: true}) && uid == 0 {
			if len(c.SecurityContext.Capabilities.Add) > 0 {
				t.Errorf("beside a root target: %v are added", c.SecurityContext.Capabilities.Add)
			}
			return "uid 0: the target's own, none added"
		}
		return user[*c.SecurityContext.RunAsUser] + ": " + capabilities(c.SecurityContext)
	}
	job := func(needs Needs) string {
		pod := attacher().job(instance(1000, needs), "podstep-test").Spec.Template.Spec
		return user[*pod.Containers[0].SecurityContext.RunAsUser] + ": " + capabilities(pod.Containers[0].SecurityContext)
	}
	type row struct {
		session string
		uid     int64
		needs   Needs
	}
	for _, r := range []row{
		{"steal", 1000, Needs{Steal: true, Process: true}},
		{"mirror", 1000, Needs{Mirror: true, Process: true}},
		{"steal, no environment", 1000, Needs{Steal: true}},
		{"environment and outgoing, target not root", 1000, Needs{Process: true}},
		{"environment and outgoing, target root", 0, Needs{Process: true}},
	} {
		want(t, page, fmt.Sprintf("| %s | %s | %s |", r.session, ephemeral(r.uid, r.needs), job(r.needs)))
	}
	if as := ephemeral(0, Needs{}); as != "65532: none" {
		t.Errorf("beside a root target, without its environment: %s", as)
	}
	want(t, page, fmt.Sprintf("| outgoing and names only | the target's user, 65532 if it is root: none | %s |", job(Needs{})))
	alone := attacher().targetlessJob("shop", "podstep-test").Spec.Template.Spec
	want(t, page, fmt.Sprintf("| targetless | | uid %d: %s |", *alone.SecurityContext.RunAsUser, capabilities(alone.Containers[0].SecurityContext)))
}

func capabilities(sc *corev1.SecurityContext) string {
	if sc.Capabilities == nil || len(sc.Capabilities.Add) == 0 {
		return "none"
	}
	var names []string
	for _, c := range sc.Capabilities.Add {
		names = append(names, "`"+string(c)+"`")
	}
	return strings.Join(names, ", ")
}

func want(t *testing.T, page []byte, line string) {
	t.Helper()
	if !strings.Contains(string(page), "\n"+line+"\n") {
		t.Errorf("docs/security.md lacks the line\n%s", line)
	}
}

// TestSecurityPageSaysWhatEveryAgentHas holds the sentence above that table.
func TestSecurityPageSaysWhatEveryAgentHas(t *testing.T) {
	needs := Needs{Steal: true, Process: true}
	job := attacher().job(instance(1000, needs), "podstep-test").Spec.Template.Spec
	for name, sc := range map[string]*corev1.SecurityContext{
		"ephemeral": attacher().ephemeral(instance(1000, needs), "podstep-test").SecurityContext, "job": job.Containers[0].SecurityContext,
	} {
		if !*sc.ReadOnlyRootFilesystem || sc.Capabilities.Drop[0] != "ALL" || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: %+v", name, sc)
		}
	}
	if len(job.Volumes) > 0 || *job.AutomountServiceAccountToken || job.HostNetwork || job.HostIPC {
		t.Errorf("the job's pod: %+v", job)
	}
}
