package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	admission "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPodSecurityRefusesPrivilegedPods(t *testing.T) {
	_, client := need(t)
	namespace, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "strict-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	privileged := true
	try := func(security *corev1.SecurityContext) error {
		_, err := client.CoreV1().Pods(namespace.Name).Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "echo", Image: "test.local/echo:1", SecurityContext: security}}},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	eventually(t, "a plain pod is admitted", func() error { return try(nil) }) // its service account comes in a moment
	if err := try(&corev1.SecurityContext{Privileged: &privileged}); err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		t.Errorf("a privileged pod: %v", err)
	}
}

func TestValidatingAdmissionPolicyRefuses(t *testing.T) {
	_, client := need(t)
	policies := client.AdmissionregistrationV1()
	name := "no-forbidden-names"
	if _, err := policies.ValidatingAdmissionPolicies().Create(t.Context(), &admission.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admission.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admission.MatchResources{ResourceRules: []admission.NamedRuleWithOperations{{RuleWithOperations: admission.RuleWithOperations{
				Operations: []admission.OperationType{admission.Create},
				Rule:       admission.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}}}},
			Validations: []admission.Validation{{Expression: "object.metadata.name != 'forbidden'", Message: "this name is forbidden"}},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := policies.ValidatingAdmissionPolicyBindings().Create(t.Context(), &admission.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       admission.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admission.ValidationAction{admission.Deny}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	try := func(name string) error {
		_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}},
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	eventually(t, "the policy is in force", func() error {
		if err := try("forbidden"); err == nil || !strings.Contains(err.Error(), "this name is forbidden") {
			return errors.Join(errors.New("not refused"), err)
		}
		return nil
	})
	if err := try("allowed"); err != nil {
		t.Error(err)
	}
}

func TestLoadedImageRunsOnEveryNode(t *testing.T) {
	_, client := need(t)
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-gcflags=all=-dwarf=false", "-o", filepath.Join(dir, "echo"), "../echo")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pack := exec.CommandContext(t.Context(), "go", "run", "-C", "../../../agent/image", ".", "-o", filepath.Join(dir, "image.tar"), "-ref", "test.local/loaded:1",
		"-platforms", "linux/"+runtime.GOARCH+",linux/s390x", "-user", "1234", "-entrypoint", "/bin/echo-server", "/bin/echo-server="+filepath.Join(dir, "echo"))
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	do(t, "PODSTEP_E2E_LOAD", filepath.Join(dir, "image.tar"))
	for _, node := range []string{"node1", "node2"} {
		pod, err := client.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "loaded-" + node},
			Spec: corev1.PodSpec{
				NodeName:   node,
				Containers: []corev1.Container{{Name: "echo", Image: "test.local/loaded:1", ImagePullPolicy: corev1.PullNever}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the image runs on "+node, func() error {
			p, err := client.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Running == nil {
				return errors.New(p.Status.String())
			}
			if user := p.Status.ContainerStatuses[0].User; user == nil || user.Linux.UID != 1234 {
				t.Errorf("it runs as %v", user)
			}
			return nil
		})
	}
}

// machine is what a cluster must leave as it is.
func machine(t *testing.T) string {
	t.Helper()
	var all []string
	for _, command := range [][]string{{"ip", "-o", "link"}, {"ip", "route"}, {"nft", "list", "ruleset"}, {"sysctl", "-a", "--pattern", "^(vm.overcommit|vm.panic|kernel.panic|net.ipv4.ip_forward)"}} {
		out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).Output()
		if err != nil {
			t.Fatalf("%v: %v", command, err)
		}
		all = append(all, string(out))
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(all, string(mounts)), "\n")
}

func TestSecondClusterRunsBesideAndLeavesNothing(t *testing.T) {
	config, _ := need(t)
	before := machine(t)
	up := strings.Fields(os.Getenv("PODSTEP_E2E_FAULT"))[0]
	state := filepath.Join(t.TempDir(), "state")
	cmd := exec.CommandContext(t.Context(), up, "run", "-state", state, "-bin", filepath.Dir(up),
		"sh", "-c", "$PODSTEP_E2E_EXEC hostname && echo $KUBECONFIG && exit 7")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 || string(out) != "node1\n"+state+"/kubeconfig\n" {
		t.Errorf("%v: %s", err, out)
	}
	if after := machine(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if left, err := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/podsteptest-%d", cmd.Process.Pid)); err != nil || len(left) > 0 {
		t.Errorf("cgroups %v, %v are left", left, err)
	}
	if err := readyz(t.Context(), config); err != nil {
		t.Errorf("the first cluster: %v", err)
	}
}
