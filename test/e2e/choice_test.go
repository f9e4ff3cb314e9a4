//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit/dapclient"
	"podstep.dev/internal/testkit/visit"
)

// TestContainerIsChosenAsKubectlDoes : the first one, the one that the pod's annotation names, or the one that the target names.
func TestContainerIsChosenAsKubectlDoes(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{change: withSidecar})
	s.deploy(shop{name: "marked", change: func(template *corev1.PodTemplateSpec) {
		withSidecar(template)
		template.Annotations = map[string]string{"kubectl.kubernetes.io/default-container": "sidecar"}
	}})
	for target, want := range map[string]string{
		"deployment/shop": "shop", "deployment/shop/container/sidecar": "sidecar", "deployment/marked": "sidecar", "deployment/marked/container/marked": "marked",
	} {
		if _, env := s.environment(s.mirror(target, off())); !slices.Contains(env, "CONTAINER="+want) {
			t.Errorf("%s has the environment %q, want that of %s", target, env, want)
		}
	}
	var failure *dapclient.Failure
	if err := s.Start("go").Launch(s.ctx, s.dlv(s.mirror("deployment/shop/container/nobody")), nil); !errors.As(err, &failure) || failure.ID != int(fault.NoTarget) || !strings.Contains(failure.Format, "sidecar") {
		t.Errorf("a container that is not there: %v", err)
	}
}

// environment is what a debuggee sees of the target.
func (s *stage) environment(mirror map[string]any) (hostname string, env []string) {
	s.t.Helper()
	out, err := s.run(mirror, s.visitor(), "env")
	if err != nil {
		s.t.Fatal(err)
	}
	var seen struct {
		Hostname string
		Env      []string
	}
	if err := json.Unmarshal([]byte(out), &seen); err != nil {
		s.t.Fatal(err)
	}
	return seen.Hostname, seen.Env
}

// TestAnnotationsForbidStealing : what the strictest of the annotations forbids is a fault before anything is touched, and a
// mirror is had all the same.
func TestAnnotationsForbidStealing(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pod := s.deploy(shop{})[0]
	s.service("shop", "shop")
	c := s.customer("http://shop")
	s.patch("Deployment", "shop", `{"metadata":{"annotations":{"podstep.dev/steal":"filtered-only"}}}`)
	s.refusedWith(fault.StealDenied, "filter")
	s.patchNamespace(`{"metadata":{"annotations":{"podstep.dev/steal":"deny"}}}`)
	s.refusedWith(fault.StealDenied, "stolen")
	if agents := s.fresh(&pod).Spec.EphemeralContainers; len(agents) > 0 {
		t.Errorf("the pod was touched: %s", marshal(agents))
	}
	d := s.begin(c, s.mirror("deployment/shop", map[string]any{"incoming": map[string]any{"ports": map[string]int{"80": s.port}}}))
	checkEphemeral(t, s.fresh(&pod), caps{"NET_RAW", "SYS_PTRACE"})
	s.disconnect(d)
	s.cleared()
}

// refusedWith presses F5 to steal from the shop, and wants that fault with that word.
func (s *stage) refusedWith(id fault.ID, word string) {
	s.t.Helper()
	d := s.Start("go")
	err := d.Launch(s.ctx, s.dlv(s.mirror("deployment/shop")), nil)
	var failure *dapclient.Failure
	if !errors.As(err, &failure) || failure.ID != int(id) || !strings.Contains(failure.Format, word) {
		s.t.Errorf("launch: %v, want fault %d with %q", err, id, word)
	}
	s.disconnect(d)
}

// TestHostNetworkIsNotStolen : the traffic of a pod in the node's network is the node's, too.
func TestHostNetworkIsNotStolen(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	port := fmt.Sprint(20_000 + s.port%10_000)
	s.deploy(shop{change: func(template *corev1.PodTemplateSpec) {
		template.Spec.HostNetwork = true
		template.Spec.Containers[0].Ports = nil
		template.Spec.Containers[0].Env = append(template.Spec.Containers[0].Env, corev1.EnvVar{Name: "SHOP_PORT", Value: port})
	}})
	s.refusedWith(fault.TargetShared, "network")
	if _, env := s.environment(s.mirror("deployment/shop", off())); !slices.Contains(env, "SHOP_COLOUR=orange") {
		t.Errorf("without incoming traffic the environment is %q", env)
	}
	s.cleared()
}

// TestConnectsAsKubectlDoes : the block's kubeconfig, context and namespace, and credentials of a program that the kubeconfig
// names, of somebody who may do nothing outside of the one namespace.
func TestConnectsAsKubectlDoes(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	token := s.token("visitor")
	credential := marshal(map[string]any{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": map[string]any{"token": token}})
	config := s.admin.DeepCopy()
	current := config.Contexts[config.CurrentContext]
	config.AuthInfos["program"] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1", Command: "/bin/cat", Args: []string{s.Write("credential.json", credential)},
		InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
	}}
	config.Contexts["other"] = &clientcmdapi.Context{Cluster: current.Cluster, AuthInfo: "program", Namespace: "default"}
	config.CurrentContext = "nothing"
	s.Env = append(s.Env, "KUBECONFIG=/nonexistent")
	began := time.Now()
	d := s.launched(s.mirror("deployment/shop", map[string]any{"kubeconfig": s.writeConfig("elsewhere", config), "context": "other", "namespace": s.ns}))
	s.await(c, "the debuggee answers", began, visit.By("debuggee"))
	if strings.Contains(d.Log.String(), token) {
		t.Error("the token is in the log")
	}
	s.disconnect(d)
	s.cleared()
}

// token is that of a service account who may do everything in the stage's namespace and nothing elsewhere.
func (s *stage) token(name string) string {
	s.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: s.ns}},
		RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "cluster-admin"},
	}
	if _, err := s.client.CoreV1().ServiceAccounts(s.ns).Create(s.ctx, account, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.client.RbacV1().RoleBindings(s.ns).Create(s.ctx, binding, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	made, err := s.client.CoreV1().ServiceAccounts(s.ns).CreateToken(s.ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return made.Status.Token
}
