package workload_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/testkit"
)

// Images that the test cluster has: of a program that waits for its end, and of one that says its version.
const (
	waits = "test.local/pause:1"
	ends  = "test.local/coredns:1"
)

// connect reaches the test cluster, in a namespace made for this test.
func connect(t *testing.T) *api.Cluster {
	t.Helper()
	if os.Getenv("PODSTEP_E2E") == "" || os.Getenv("KUBECONFIG") == "" {
		t.Skip("there is no cluster: run make e2e")
	}
	name := "workload-" + strings.ToLower(rand.Text()[:8])
	c, err := api.Connect(api.Options{Namespace: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.Client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		now := int64(0)
		_ = c.Client.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
	testkit.Eventually(t, "the namespace has its service account", func() bool {
		_, err := c.Client.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	return c
}

// apply creates the objects of a YAML text, in the cluster's namespace. IMAGE stands for a container that waits, ENDS for
// one that ends.
func apply(t *testing.T, c *api.Cluster, text string) {
	t.Helper()
	for document := range strings.SplitSeq(strings.NewReplacer("IMAGE", waits, "ENDS", ends+", command: [/coredns, -version]").Replace(text), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		kind := object.GroupVersionKind()
		resource := schema.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: strings.ToLower(kind.Kind) + "s"}
		if _, err := c.Dynamic.Resource(resource).Namespace(c.Namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatalf("create %s %s: %v", kind.Kind, object.GetName(), err)
		}
	}
}

// found finds a target that is to become ready.
func found(t *testing.T, c *api.Cluster, target string, o workload.Options) *workload.Workload {
	t.Helper()
	parsed, err := config.ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	var w *workload.Workload
	deadline := time.Now().Add(time.Minute)
	for w, err = workload.Find(t.Context(), c, parsed, o); err != nil && time.Now().Before(deadline); w, err = workload.Find(t.Context(), c, parsed, o) {
		<-time.After(100 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("find %s: %v", target, err)
	}
	return w
}

// podNames are those of the instances with their containers: "web-0/app".
func podNames(set []workload.Instance) string {
	var names []string
	for _, i := range set {
		names = append(names, fmt.Sprintf("%s/%s", i.Pod.Name, i.Container))
	}
	return strings.Join(names, " ")
}

// awaitSet reads sets until one is as wanted.
func awaitSet(t *testing.T, sets <-chan []workload.Instance, wanted func([]workload.Instance) bool) []workload.Instance {
	t.Helper()
	deadline := time.After(time.Minute)
	var last []workload.Instance
	for {
		select {
		case set, open := <-sets:
			if !open {
				t.Fatal("the target is gone")
			}
			last = set
			if wanted(set) {
				return set
			}
		case <-deadline:
			t.Fatalf("the last set is %q", podNames(last))
		}
	}
}
