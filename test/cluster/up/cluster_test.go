package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// patience is how long a test waits for what must come, on a busy machine.
const patience = time.Minute

// need returns the cluster's client. Tests that use it are run within "up run", as "make cluster-test" does.
func need(t *testing.T) (*rest.Config, *kubernetes.Clientset) {
	t.Helper()
	if os.Getenv("PODSTEP_E2E_FAULT") == "" {
		t.Skip("no cluster: make cluster-test has one")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return config, client
}

// do runs the command that a variable begins, and returns what it prints.
func do(t *testing.T, variable string, args ...string) string {
	t.Helper()
	args = append(strings.Fields(os.Getenv(variable)), args...)
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, out.String(), errs.String())
	}
	return out.String()
}

func fails(t *testing.T, what string, f func() error) {
	t.Helper()
	if err := f(); err == nil {
		t.Errorf("%s succeeds", what)
	}
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// parts are the process ids of a node's programs. The first node sees the others' processes too, which are not meant.
func parts(t *testing.T, node string) map[string]string {
	t.Helper()
	found := map[string]string{}
	list := do(t, "PODSTEP_E2E_EXEC", "-node", node, "sh", "-c", `cd /proc; for p in [0-9]*; do
		[ $p/ns/pid -ef self/ns/pid ] && echo "$p $(tr '\0' ' ' <$p/cmdline)"; done 2>/dev/null; true`)
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 2 && filepath.Base(f[1]) == "kubebox" && f[2] != "ctr" {
			found[f[2]] = f[0]
		}
	}
	return found
}

func TestRestartChangesOnePartOnly(t *testing.T) {
	config, client := need(t)
	for _, tt := range []struct{ node, part string }{{"node1", "kube-apiserver"}, {"node2", "kubelet"}, {"node2", "containerd"}} {
		t.Run(tt.part, func(t *testing.T) {
			others := map[string]string{"node1": "node2", "node2": "node1"}
			here, there := parts(t, tt.node), parts(t, others[tt.node])
			began := time.Now()
			do(t, "PODSTEP_E2E_FAULT", "-node", tt.node, "restart", tt.part)
			t.Logf("%s is back after %v", tt.part, time.Since(began))
			for name, pid := range parts(t, tt.node) {
				if changed := pid != here[name]; changed != (name == tt.part) {
					t.Errorf("%s: pid %s, was %s", name, pid, here[name])
				}
			}
			for name, pid := range parts(t, others[tt.node]) {
				if pid != there[name] {
					t.Errorf("%s of the other node: pid %s, was %s", name, pid, there[name])
				}
			}
			if err := readyz(t.Context(), rest.CopyConfig(config)); err != nil {
				t.Error(err)
			}
			eventually(t, "a pod starts on "+tt.node, func() error { return startPod(t, client, tt.node) })
		})
	}
}

// readyz asks the API server how it is, over a connection of its own.
func readyz(ctx context.Context, config *rest.Config) error {
	config.Proxy = http.ProxyFromEnvironment // a function: no transport is shared with others
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// startPod starts an echo pod on a node and waits until the API server has its answer.
func startPod(t *testing.T, client *kubernetes.Clientset, node string) error {
	t.Helper()
	pods := client.CoreV1().Pods("default")
	pod, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "echo-"},
		Spec: corev1.PodSpec{
			NodeName:   node,
			Containers: []corev1.Container{{Name: "echo", Image: "test.local/echo:1", ImagePullPolicy: corev1.PullNever}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	defer func() {
		now := int64(0)
		_ = pods.Delete(context.WithoutCancel(t.Context()), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}) // the cluster ends soon
	}()
	eventually(t, "the pod answers", func() error {
		answer, err := client.CoreV1().RESTClient().Get().Namespace("default").Resource("pods").Name(pod.Name + ":8080").SubResource("proxy").Do(t.Context()).Raw()
		if err == nil && !strings.Contains(string(answer), pod.Name) {
			err = errors.New("another pod answers: " + string(answer))
		}
		return err
	})
	return nil
}

// A caller asks over one connection, and tells whether it was the same one as before.
type caller struct {
	http *http.Client
	url  string
}

func newCaller(t *testing.T, config *rest.Config) *caller {
	t.Helper()
	settings, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: settings, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{&http.Client{Transport: transport}, config.Host + "/readyz"}
}

func (c *caller) ask(ctx context.Context, limit time.Duration) (reused bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return false, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return reused, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return reused, err
}

func TestFreezeHoldsConnectionsAndGivesThemBack(t *testing.T) {
	config, _ := need(t)
	c := newCaller(t, config)
	if _, err := c.ask(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	do(t, "PODSTEP_E2E_FAULT", "freeze", "3s")
	began := time.Now()
	reused, err := c.ask(t.Context(), patience)
	if err != nil || !reused || time.Since(began) < 2*time.Second {
		t.Errorf("after %v: %v, by the same connection: %v", time.Since(began), err, reused)
	}
	do(t, "PODSTEP_E2E_FAULT", "freeze", "1h")
	do(t, "PODSTEP_E2E_FAULT", "restore")
	if reused, err := c.ask(t.Context(), patience); err != nil || !reused {
		t.Errorf("restored: %v, by the same connection: %v", err, reused)
	}
}

func TestCutResetsAndLoseSilences(t *testing.T) {
	config, _ := need(t)
	c := newCaller(t, config)
	if _, err := c.ask(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	do(t, "PODSTEP_E2E_FAULT", "cut", "1h")
	fails(t, "a request through a cut door", func() error { _, err := c.ask(t.Context(), patience); return err })
	do(t, "PODSTEP_E2E_FAULT", "restore")
	if reused, err := c.ask(t.Context(), patience); err != nil || reused {
		t.Errorf("restored: %v, by the same connection: %v", err, reused)
	}
	do(t, "PODSTEP_E2E_FAULT", "lose")
	fails(t, "a request by a lost connection", func() error { _, err := c.ask(t.Context(), 2*time.Second); return err })
	if _, err := newCaller(t, config).ask(t.Context(), patience); err != nil {
		t.Errorf("a new connection: %v", err)
	}
}
