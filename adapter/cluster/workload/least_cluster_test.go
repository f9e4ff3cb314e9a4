package workload_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/rbac"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit"
)

// as connects as a service account of that name, which has the printed Role without what is taken: a resource and a verb.
func as(t *testing.T, admin *api.Cluster, name, resource, verb string) *api.Cluster {
	t.Helper()
	role := rbac.Roles(rbac.Options{Namespace: admin.Namespace}, rbac.Subject{ServiceAccount: name})[0]
	role.Role.Name, role.Binding.Name, role.Binding.RoleRef.Name = name, name, name
	for i := range role.Role.Rules {
		if rule := &role.Role.Rules[i]; slices.Contains(rule.Resources, resource) {
			rule.Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(v string) bool { return v == verb })
		}
	}
	role.Role.Rules = slices.DeleteFunc(role.Role.Rules, func(r rbacv1.PolicyRule) bool { return len(r.Verbs) == 0 })
	client := admin.Client
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err1 := client.CoreV1().ServiceAccounts(admin.Namespace).Create(t.Context(), account, metav1.CreateOptions{})
	_, err2 := client.RbacV1().Roles(admin.Namespace).Create(t.Context(), &role.Role, metav1.CreateOptions{})
	_, err3 := client.RbacV1().RoleBindings(admin.Namespace).Create(t.Context(), role.Binding, metav1.CreateOptions{})
	token, err4 := client.CoreV1().ServiceAccounts(admin.Namespace).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	raw, err := clientcmd.NewDefaultClientConfigLoadingRules().Load()
	if err != nil {
		t.Fatal(err)
	}
	raw.AuthInfos[raw.Contexts[raw.CurrentContext].AuthInfo] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*raw, path); err != nil {
		t.Fatal(err)
	}
	c, err := api.Connect(api.Options{Kubeconfig: path, Namespace: admin.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	testkit.Eventually(t, "the role is known", func() bool {
		_, err := c.Client.CoreV1().Services(c.Namespace).List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	return c
}

func TestThePrintedRoleIsEnoughAndEachVerbIsNamed(t *testing.T) {
	admin := connect(t)
	apply(t, admin, controller("apps/v1", "Deployment", "web", "replicas: 1"))
	found(t, admin, "deployment/web", workload.Options{})
	deployment := config.Target{Kind: "deployment", Name: "web"}

	anna := as(t, admin, "anna", "", "")
	sets := found(t, anna, "deployment/web", workload.Options{}).Watch(t.Context())
	first := awaitSet(t, sets, size(1))[0]
	deletePod(t, admin, first.Pod.Name)
	awaitSet(t, sets, func(set []workload.Instance) bool { return len(set) == 1 && set[0].ID() != first.ID() })
	// Argo Rollouts is not installed here, and who may not list what is not there is told so, not that it is not there.
	list, err := workload.Targets(t.Context(), anna, workload.ListOptions{})
	if err != nil || len(list.Targets) != 1 || len(list.Missing) != 0 {
		t.Errorf("the list is %+v, %v", list, err)
	}

	for _, test := range []struct{ resource, verb, want string }{
		{"deployments", "get", `may not get deployments.apps "web" in namespace`},
		{"pods", "list", `may not list pods in namespace`},
		{"deployments", "list", `may not list deployments.apps`},
		{"pods", "watch", `may not watch pods in namespace`},
	} {
		t.Run(test.resource+" "+test.verb, func(t *testing.T) {
			t.Parallel()
			user := "no-" + test.verb + "-" + test.resource
			c := as(t, admin, user, test.resource, test.verb)
			w, err := workload.Find(t.Context(), c, deployment, workload.Options{})
			if err == nil {
				err = awaitGone(t, w, w.Watch(t.Context()))
			}
			var f *fault.Fault
			if !errors.As(err, &f) || f.ID != fault.Forbidden || !strings.Contains(f.What, test.want) || !strings.Contains(f.What, user) || f.Hint != "Ask for the role that this prints: podstep rbac -n "+c.Namespace {
				t.Errorf("fault %v, want one with %q", err, test.want)
			}
			list, err := workload.Targets(t.Context(), c, workload.ListOptions{})
			if err != nil || test.verb == "list" && (len(list.Missing) != 1 || !strings.HasPrefix(list.Missing[0], test.resource+": may not list")) {
				t.Errorf("the list is %+v, %v", list, err)
			}
		})
	}
	t.Run("namespaces get", func(t *testing.T) {
		w := found(t, as(t, admin, "no-namespace", "namespaces", "get"), "deployment/web", workload.Options{})
		if set := w.Instances(); len(set) != 1 || set[0].Steal != workload.StealAllow {
			t.Errorf("found are %v", set)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		raw, err := clientcmd.NewDefaultClientConfigLoadingRules().Load()
		if err != nil {
			t.Fatal(err)
		}
		raw.AuthInfos[raw.Contexts[raw.CurrentContext].AuthInfo] = &clientcmdapi.AuthInfo{Token: "x"}
		if err := clientcmd.WriteToFile(*raw, path); err != nil {
			t.Fatal(err)
		}
		c, err := api.Connect(api.Options{Kubeconfig: path, Namespace: admin.Namespace})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var f *fault.Fault
		if _, err := workload.Targets(t.Context(), c, workload.ListOptions{}); !errors.As(err, &f) || f.ID != fault.NoCluster || !strings.Contains(f.What, "refuses the kubeconfig's credentials") {
			t.Errorf("fault %v", err)
		}
	})
}

func TestAnnotationsOfTheNamespaceBind(t *testing.T) {
	c := connect(t)
	namespace, err := c.Client.CoreV1().Namespaces().Get(t.Context(), c.Namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	namespace.Annotations = map[string]string{workload.StealAnnotation: "filtered-only"}
	if _, err := c.Client.CoreV1().Namespaces().Update(t.Context(), namespace, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	apply(t, c, strings.Replace(controller("apps/v1", "Deployment", "web", "replicas: 1"), "{name: web}", "{name: web, annotations: {podstep.dev/steal: allow}}", 1))
	if set := found(t, c, "deployment/web", workload.Options{}).Instances(); set[0].Steal != workload.StealFilteredOnly {
		t.Errorf("steal is %q", set[0].Steal)
	}
	listed(t, c, workload.ListOptions{}, "deployment/web 1/1 ready app [] filtered-only")
	if _, err := workload.Find(t.Context(), &api.Cluster{Client: c.Client, Dynamic: c.Dynamic, Namespace: "no-such", Context: "lab"}, config.Target{Kind: "pod", Name: "x"}, workload.Options{}); err == nil || !strings.Contains(err.Error(), `there is no namespace "no-such" in lab`) {
		t.Errorf("fault %v", err)
	}
}
