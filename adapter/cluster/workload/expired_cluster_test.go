package workload

import (
	"context"
	"os"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"podstep.dev/adapter/cluster/api"
)

func TestFollowerOvertakesAVersionThatIsTooOld(t *testing.T) {
	if os.Getenv("PODSTEP_E2E") == "" || os.Getenv("KUBECONFIG") == "" {
		t.Skip("there is no cluster: run make e2e")
	}
	core, logs := observer.New(zap.DebugLevel)
	c, err := api.Connect(api.Options{Namespace: "kube-system", Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client := c.Client.CoreV1().Pods(c.Namespace)
	f := &follower[*corev1.Pod]{
		what: "pods", watch: client.Watch, log: zap.NewNop(), latest: make(chan []*corev1.Pod, 1), objects: map[string]*corev1.Pod{}, version: "1",
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.run(ctx) }()
	if got := <-f.latest; len(got) == 0 {
		t.Error("no pods are seen")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, line := range logs.All() {
		t.Log(line.Message, line.ContextMap())
	}
}
