package workload_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit"
)

func patch(t *testing.T, c *api.Cluster, name, text string) {
	t.Helper()
	if _, err := c.Client.AppsV1().Deployments(c.Namespace).Patch(t.Context(), name, types.StrategicMergePatchType, []byte(text), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func deletePod(t *testing.T, c *api.Cluster, name string) {
	t.Helper()
	if err := c.Client.CoreV1().Pods(c.Namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func size(n int) func([]workload.Instance) bool {
	return func(set []workload.Instance) bool { return len(set) == n }
}

// awaitGone reads sets until the target is gone and returns the fault.
func awaitGone(t *testing.T, w *workload.Workload, sets <-chan []workload.Instance) *fault.Fault {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		select {
		case _, open := <-sets:
			if open {
				continue
			}
			var f *fault.Fault
			if !errors.As(w.Err(), &f) {
				t.Fatalf("the target is gone with %v", w.Err())
			}
			return f
		case <-deadline:
			t.Fatal("the target is still there")
		}
	}
}

func TestWatchFollowsADeployment(t *testing.T) {
	c := connect(t)
	apply(t, c, controller("apps/v1", "Deployment", "web", "replicas: 2"))
	// A pod with the same labels that is not the deployment's.
	apply(t, c, "apiVersion: v1\nkind: Pod\nmetadata: {name: stranger, labels: {app: web, pod-template-hash: x}}\nspec: {containers: [{name: app, image: IMAGE}]}")
	w := found(t, c, "deployment/web", workload.Options{})
	sets := w.Watch(t.Context())
	set := awaitSet(t, sets, size(2))

	deletePod(t, c, set[0].Pod.Name)
	if less := awaitSet(t, sets, size(1)); less[0].ID() != set[1].ID() {
		t.Errorf("when %s was deleted, %s is left, want %s", set[0], less[0], set[1])
	}
	more := awaitSet(t, sets, size(2))
	for _, i := range more {
		if i.ID() == set[0].ID() || strings.Contains(i.Pod.Name, "stranger") {
			t.Errorf("%s is in the new set", i)
		}
	}

	patch(t, c, "web", `{"spec": {"template": {"metadata": {"annotations": {"podstep.dev/steal": "deny"}}}}}`)
	awaitSet(t, sets, func(set []workload.Instance) bool {
		return len(set) == 2 && set[0].Steal == workload.StealDeny && set[1].Steal == workload.StealDeny
	})
	patch(t, c, "web", `{"spec": {"replicas": 0}}`)
	awaitSet(t, sets, size(0))
	if err := c.Client.AppsV1().Deployments(c.Namespace).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if f := awaitGone(t, w, sets); f.ID != fault.TargetGone || f.What != "deployment/web was deleted" {
		t.Errorf("fault %v", f)
	}
}

func TestWatchKeepsToOnePod(t *testing.T) {
	c := connect(t)
	apply(t, c, controller("apps/v1", "Deployment", "web", "replicas: 3"))
	awaitSet(t, found(t, c, "deployment/web", workload.Options{}).Watch(t.Context()), size(3))
	sets := found(t, c, "deployment/web", workload.Options{One: true}).Watch(t.Context())
	first := awaitSet(t, sets, size(1))[0]
	patch(t, c, "web", `{"spec": {"replicas": 4}}`)
	deletePod(t, c, first.Pod.Name)
	if next := awaitSet(t, sets, size(1))[0]; next.ID() == first.ID() {
		t.Errorf("%s is deleted and still borrowed", first)
	}
}

func TestWatchFollowsAServiceToOtherPods(t *testing.T) {
	c := connect(t)
	apply(t, c, controller("apps/v1", "Deployment", "blue", "replicas: 1")+"\n---\n"+controller("apps/v1", "Deployment", "green", "replicas: 2"))
	apply(t, c, "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec: {selector: {app: blue}, ports: [{port: 80}]}")
	sets := found(t, c, "service/shop", workload.Options{}).Watch(t.Context())
	awaitSet(t, sets, size(1))
	if _, err := c.Client.CoreV1().Services(c.Namespace).Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"spec": {"selector": {"app": "green"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, i := range awaitSet(t, sets, size(2)) {
		if i.Pod.Labels["app"] != "green" {
			t.Errorf("%s is still borrowed", i)
		}
	}
}

func TestWatchTakesARestartedContainerForAnother(t *testing.T) {
	c := connect(t)
	apply(t, c, "apiVersion: v1\nkind: Pod\nmetadata: {name: tired}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: IMAGE, "+
		"livenessProbe: {tcpSocket: {port: 1}, initialDelaySeconds: 5, periodSeconds: 1, failureThreshold: 1}}]}")
	sets := found(t, c, "pod/tired", workload.Options{}).Watch(t.Context())
	first := awaitSet(t, sets, size(1))[0]
	second := awaitSet(t, sets, func(set []workload.Instance) bool { return len(set) == 1 && set[0].ID() != first.ID() })[0]
	if first.Pod.UID != second.Pod.UID || first.ContainerID == second.ContainerID {
		t.Errorf("the restarted container of %s has the id %s, before %s", second, second.ContainerID, first.ContainerID)
	}
}

func TestWatchWaitsForANamedPodToComeBack(t *testing.T) {
	c := connect(t)
	apply(t, c, controller("apps/v1", "StatefulSet", "db", "serviceName: db"))
	w := found(t, c, "pod/db-0", workload.Options{})
	sets := w.Watch(t.Context())
	first := awaitSet(t, sets, size(1))[0]
	deletePod(t, c, "db-0")
	second := awaitSet(t, sets, func(set []workload.Instance) bool { return len(set) == 1 && set[0].ID() != first.ID() })[0]
	if first.Pod.UID == second.Pod.UID {
		t.Errorf("the same pod came back")
	}
	if err := c.Client.AppsV1().StatefulSets(c.Namespace).Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if f := awaitGone(t, w, sets); f.ID != fault.TargetGone || f.What != "pod/db-0 was deleted and has not come back" {
		t.Errorf("fault %v", f)
	}
	if waited := time.Since(began); waited < 55*time.Second {
		t.Errorf("gone after %v", waited)
	}
}

func TestWatchOfAJobEndsWithIt(t *testing.T) {
	c := connect(t)
	apply(t, c, `
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  activeDeadlineSeconds: 5
  template: {spec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: app, image: IMAGE}]}}`)
	w := found(t, c, "job/once", workload.Options{})
	if f := awaitGone(t, w, w.Watch(t.Context())); f.ID != fault.TargetGone || !strings.HasPrefix(f.What, "job/once has ended: it failed: ") {
		t.Errorf("fault %v", f)
	}
}

func TestWatchSurvivesALongDisconnection(t *testing.T) {
	direct := connect(t)
	p := newProxy(t)
	core, logs := observer.New(zap.DebugLevel)
	c, err := api.Connect(api.Options{Kubeconfig: p.kubeconfig, Namespace: direct.Namespace, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	apply(t, direct, controller("apps/v1", "Deployment", "web", "replicas: 2"))
	w := found(t, c, "deployment/web", workload.Options{Log: zap.New(core)})
	sets := w.Watch(t.Context())
	first := awaitSet(t, sets, size(2))
	p.cut()
	patch(t, direct, "web", `{"spec": {"replicas": 1}}`)
	patch(t, direct, "web", `{"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}`)
	// client-go itself repeats a request that is reset ten times, once a second.
	testkit.Eventually(t, "the outage is logged", func() bool { return logs.FilterMessage("cannot follow, trying again").Len() > 0 })
	select {
	case set := <-sets:
		t.Errorf("a set while nothing can be seen: %s", podNames(set))
	default:
	}
	before := c.Usage().Requests
	p.mend()
	last := awaitSet(t, sets, func(set []workload.Instance) bool { return len(set) == 1 && set[0].Pod.Annotations["a"] == "b" })
	if last[0].ID() == first[0].ID() || last[0].ID() == first[1].ID() {
		t.Errorf("%s is left, which was deleted", last[0])
	}
	t.Logf("%d requests until the outage's end, %d more to catch up", before, c.Usage().Requests-before)
}

func TestWatchSurvivesWhatHappensToAnAPIServer(t *testing.T) {
	command := strings.Fields(os.Getenv("PODSTEP_E2E_FAULT"))
	if len(command) == 0 {
		t.Skip("there is no cluster: run make e2e")
	}
	admin := connect(t)
	apply(t, admin, controller("apps/v1", "Deployment", "web", "replicas: 2"))
	w := found(t, admin, "deployment/web", workload.Options{})
	sets := w.Watch(t.Context())
	set := awaitSet(t, sets, size(2))
	for _, happens := range []string{"restart kube-apiserver 3s", "freeze 20s", "lose"} {
		began := time.Now()
		if out, err := exec.CommandContext(t.Context(), command[0], append(command[1:], strings.Fields(happens)...)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", happens, err, out)
		}
		took := time.Since(began)
		// Connections of before may be of no use.
		fresh, err := api.Connect(api.Options{Namespace: admin.Namespace})
		if err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "a pod is deleted", func() bool {
			return fresh.Client.CoreV1().Pods(fresh.Namespace).Delete(t.Context(), set[0].Pod.Name, metav1.DeleteOptions{}) == nil
		})
		_ = fresh.Close()
		gone := set[0].ID()
		set = awaitSet(t, sets, func(set []workload.Instance) bool { return len(set) == 2 && set[0].ID() != gone && set[1].ID() != gone })
		t.Logf("%s took %v, and %v later the new pod is seen", happens, took.Round(time.Millisecond), (time.Since(began) - took).Round(time.Millisecond))
	}
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}

// proxy stands between a client and the API server.
type proxy struct {
	kubeconfig string
	server     string

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

// newProxy listens on loopback and writes a kubeconfig that leads there.
func newProxy(t *testing.T) *proxy {
	t.Helper()
	config, err := clientcmd.LoadFromFile(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig"), conns: map[net.Conn]bool{}}
	cluster := config.Clusters[config.Contexts[config.CurrentContext].Cluster]
	u, err := url.Parse(cluster.Server)
	if err != nil {
		t.Fatal(err)
	}
	p.server = u.Host
	cluster.TLSServerName = u.Hostname()
	cluster.Server = fmt.Sprintf("%s://%s", u.Scheme, l.Addr())
	if err := clientcmd.WriteToFile(*config, p.kubeconfig); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(near) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); p.cut(); serving.Wait() })
	return p
}

func (p *proxy) serve(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer far.Close()
	p.mu.Lock()
	if p.down {
		p.mu.Unlock()
		return
	}
	p.conns[near], p.conns[far] = true, true
	p.mu.Unlock()
	var copies sync.WaitGroup
	for _, c := range [][2]net.Conn{{near, far}, {far, near}} {
		copies.Go(func() { _, _ = io.Copy(c[0], c[1]); _ = c[0].Close() })
	}
	copies.Wait()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}
