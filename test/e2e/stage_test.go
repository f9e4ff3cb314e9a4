//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// How long a test waits for what should happen soon, how often it asks the cluster, and how long it may take.
const (
	patience = 60 * time.Second
	pace     = 50 * time.Millisecond
	testTime = 4 * time.Minute
)

// stage is a namespace with a stock in it, and the desk of an ordinary user whose kubeconfig has it as its namespace.
type stage struct {
	*desk.Desk
	*fixture
	t   *testing.T
	ctx context.Context // bounds every wait of the test
	ns  string
	// port is where the debuggee listens: debuggees of several tests run at once.
	port int
}

// newStage makes a stage, or skips the test where there is no cluster. Labels are the namespace's.
func newStage(t *testing.T, labels ...string) *stage {
	t.Helper()
	return newLongStage(t, testTime, labels...)
}

// newLongStage is newStage for a test that may take so long.
func newLongStage(t *testing.T, long time.Duration, labels ...string) *stage {
	t.Helper()
	if everything == nil {
		t.Skip("there is no cluster: run make e2e")
	}
	ctx, cancel := context.WithTimeout(t.Context(), long)
	t.Cleanup(cancel)
	made := map[string]string{}
	for _, label := range labels {
		name, value, _ := strings.Cut(label, "=")
		made[name] = value
	}
	ns, err := everything.client.CoreV1().Namespaces().Create(ctx, newNamespace("e2e-", made), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{Desk: desk.New(ctx, t, everything.kit), fixture: everything, t: t, ctx: ctx, ns: ns.Name, port: freePort(t)}
	t.Cleanup(s.remove)
	s.BecomeOrdinary()
	s.login(nil)
	s.create(s.workload("deployment", shop{name: "stock", command: []string{"/stock"}, port: 81}))
	s.service("stock", "stock")
	return s
}

// colleague is another ordinary user at a desk of his own, in the same namespace.
func (s *stage) colleague(user string) *stage {
	s.t.Helper()
	other := *s
	other.Desk, other.port = desk.New(s.ctx, s.t, s.kit), freePort(s.t)
	other.BecomeOrdinary()
	other.login(nil)
	other.Env = append(other.Env, "USER="+user)
	return &other
}

// remove deletes the namespace. It does not wait for that: nothing of it can reach another test.
func (s *stage) remove() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), patience)
	defer cancel()
	if s.t.Failed() {
		s.explain(ctx)
	}
	none := int64(0)
	if err := s.client.CoreV1().Namespaces().Delete(ctx, s.ns, metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		s.t.Error(err)
	}
}

// login writes the person's kubeconfig: the administrator's, unless change makes it another user's.
func (s *stage) login(change func(*clientcmdapi.AuthInfo)) {
	s.t.Helper()
	config, err := s.kubeconfig(s.ns, change)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Env = append(s.Env, "KUBECONFIG="+s.Write("kubeconfig", config))
}

// writeConfig writes a kubeconfig of the person's and returns its path.
func (s *stage) writeConfig(name string, config *clientcmdapi.Config) string {
	s.t.Helper()
	text, err := clientcmd.Write(*config)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.Write(name, text)
}

// eventually asks the cluster until holds returns true.
func (s *stage) eventually(what string, holds func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v: %s", patience, what)
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.t.Fatalf("the test's time is over: %s", what)
		}
	}
}

// await waits for a request of the customer that began after since.
func (s *stage) await(c *customer, what string, since time.Time, want func(visit.Request) bool) (r visit.Request) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		r, ok := c.First(since, want)
		if ok {
			return r
		}
		if time.Now().After(deadline) || s.ctx.Err() != nil {
			s.t.Fatalf("not within %v: %s; the last requests of %s:%s", patience, what, c.pod.Name, c.tail())
		}
		<-tick.C
	}
}

// mirror is a block that steals the target's port 80, or what the keys say instead. Nothing lingers.
func (s *stage) mirror(target string, keys ...map[string]any) map[string]any {
	m := map[string]any{
		"target":   target,
		"agent":    map[string]any{"linger": 0},
		"incoming": map[string]any{"mode": "steal", "ports": map[string]int{"80": s.port}},
	}
	for _, more := range keys {
		for key, value := range more {
			m[key] = value
		}
	}
	return m
}

// linger is a key of a block: the agent of that kind stays so many seconds.
func linger(kind string, seconds int) map[string]any {
	return map[string]any{"agent": map[string]any{"kind": kind, "linger": seconds}}
}

// debuggeeEnv is what the shop at the desk is started with, besides what it gets of the target.
func (s *stage) debuggeeEnv() map[string]string {
	return map[string]string{"ANSWERED_BY": "debuggee", "SHOP_PORT": fmt.Sprint(s.port)}
}

// dlv launches the shop, which is built already.
func (s *stage) dlv(mirror map[string]any) map[string]any {
	return map[string]any{
		"type": "go", "request": "launch", "mode": "exec", "program": filepath.Join(s.kit, "shop"), "cwd": s.kit,
		"env": s.debuggeeEnv(), "mirror": mirror,
	}
}

// debugpy launches the shop in Python.
func (s *stage) debugpy(mirror map[string]any) map[string]any {
	return map[string]any{
		"type": "debugpy", "request": "launch", "program": filepath.Join(root(), "test/debuggees/python/shop.py"),
		"python": []string{s.Python(root())}, "console": "internalConsole", "justMyCode": true,
		"env": s.debuggeeEnv(), "mirror": mirror,
	}
}

// launched starts a session with the shop under dlv and returns when it is launched.
func (s *stage) launched(mirror map[string]any) *desk.Session {
	s.t.Helper()
	d := s.Start("go")
	if err := d.Launch(s.ctx, s.dlv(mirror), nil); err != nil {
		s.t.Fatalf("%v\n%s", err, d.Outputs())
	}
	return d
}

// disconnect ends a session and waits until podstep has gone.
func (s *stage) disconnect(d *desk.Session) {
	s.t.Helper()
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{}) // podstep may be gone by itself
	s.exited(d)
}

// exited waits until podstep has gone.
func (s *stage) exited(d *desk.Session) {
	s.t.Helper()
	select {
	case <-d.Exited:
	case <-s.ctx.Done():
		s.t.Fatal("podstep goes on")
	}
}

// run runs podstep run with a block and returns what the command printed.
func (s *stage) run(mirror map[string]any, argv ...string) (out string, err error) {
	var stdout, stderr strings.Builder
	cmd := s.Command(append([]string{"run", "-f", s.Write(fmt.Sprintf("mirror-%d.json", time.Now().UnixNano()), marshal(mirror)), "--"}, argv...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("podstep run %q: %w\n%s", argv, err, stderr.String())
	}
	return stdout.String(), nil
}

// visitor is the path of the visitor at the desk.
func (s *stage) visitor() string { return filepath.Join(s.kit, "visitor") }

// pods are those of a workload of the stage, by its name; those that are being deleted are left out.
func (s *stage) pods(name string) (pods []corev1.Pod) {
	s.t.Helper()
	list, err := s.client.CoreV1().Pods(s.ns).List(s.ctx, metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// ready waits until n pods of a workload are ready and no other is there.
func (s *stage) ready(name string, n int) (pods []corev1.Pod) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d pods of %s are ready", n, name), func() bool {
		pods = s.pods(name)
		for i := range pods {
			if !isReady(&pods[i]) {
				return false
			}
		}
		return len(pods) == n
	})
	return pods
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// freePort is a port of this machine that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// explain prints what a failed test leaves to read.
func (s *stage) explain(ctx context.Context) {
	pods, err := s.client.CoreV1().Pods(s.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		s.t.Log(err)
		return
	}
	for _, pod := range pods.Items {
		s.t.Logf("pod %s on %s: %s %v", pod.Name, pod.Spec.NodeName, pod.Status.Phase, pod.Status.PodIPs)
		for _, c := range append(pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses...) {
			s.t.Logf("  container %s: ready %v, restarts %d, %s", c.Name, c.Ready, c.RestartCount, marshal(c.State))
			if c.Name != "customer" {
				log, err := s.client.CoreV1().Pods(s.ns).GetLogs(pod.Name, &corev1.PodLogOptions{Container: c.Name}).DoRaw(ctx)
				s.t.Logf("  log of %s: %s %v", c.Name, log, err)
			}
		}
	}
	events, err := s.client.CoreV1().Events(s.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		s.t.Log(err)
		return
	}
	for _, e := range events.Items {
		if e.Type != corev1.EventTypeNormal || strings.Contains(e.Source.Component+e.ReportingController, "podstep") {
			s.t.Logf("event %s %s: %s", e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
}

// marshal is v as JSON.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // what tests write has no channels in it
	}
	return b
}

// fresh is a pod as it is now.
func (s *stage) fresh(pod *corev1.Pod) *corev1.Pod {
	s.t.Helper()
	found, err := s.client.CoreV1().Pods(s.ns).Get(s.ctx, pod.Name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// allPods are those of the namespace, whosever they are.
func (s *stage) allPods() []corev1.Pod {
	s.t.Helper()
	list, err := s.client.CoreV1().Pods(s.ns).List(s.ctx, metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return list.Items
}
