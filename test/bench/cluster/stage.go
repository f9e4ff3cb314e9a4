//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"podstep.dev/internal/testkit/desk"
)

const (
	image = "podstep.dev/bench:test"
	// The target pod's ports.
	stolenPort = 80
	directPort = 81
	echoPort   = 7
	// localPort is the debuggee's.
	localPort = 18080
)

// stage is a namespace with three pods: the target, the client on another node, if there is one, and one beside the target
// that sees the node's processes.
type stage struct {
	dir, bin string
	config   *rest.Config
	client   *kubernetes.Clientset

	ns      string
	target  *corev1.Pod
	asker   *corev1.Pod
	watcher *corev1.Pod
}

// setUp makes the stage. What it returns is to be closed, with an error too.
func setUp(ctx context.Context) (s *stage, err error) {
	s = &stage{}
	if s.bin, err = filepath.Abs("bin"); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "podstep-bench-"); err != nil {
		return nil, err
	}
	if err := s.loadImages(ctx); err != nil {
		return s, err
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	if s.config, err = loader.ClientConfig(); err != nil {
		return s, fmt.Errorf("read the kubeconfig: %w", err)
	}
	s.config.QPS = -1
	if s.client, err = kubernetes.NewForConfig(s.config); err != nil {
		return s, err
	}
	ns, err := s.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}, metav1.CreateOptions{})
	if err != nil {
		return s, err
	}
	s.ns = ns.Name
	return s, s.startPods(ctx)
}

// part is the path of the program that plays the roles, on this machine.
func (s *stage) part() string { return filepath.Join(s.dir, "part") }

func (s *stage) loadImages(ctx context.Context) error {
	load := os.Getenv("PODSTEP_E2E_LOAD")
	if load == "" {
		return errors.New("$PODSTEP_E2E_LOAD does not say how to load an image: run make bench")
	}
	archive := filepath.Join(s.dir, "bench.tar")
	build := exec.CommandContext(ctx, "go", "run", "-C", "agent/image", ".", "-o", archive, "-ref", image, "-plain")
	for name, from := range map[string]string{"part": "./test/bench/cluster/part", "visitor": "./test/e2e/visitor"} {
		path := filepath.Join(s.dir, name)
		if err := desk.Build(".", path, from); err != nil {
			return err
		}
		build.Args = append(build.Args, "/"+name+"="+path)
	}
	for _, command := range [][]string{build.Args, append(strings.Fields(load), archive), append(strings.Fields(load), agentArchive)} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w\n%s", command, err, out)
		}
	}
	return nil
}

func (s *stage) startPods(ctx context.Context) error {
	nodes, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	near, far := nodes.Items[0].Name, nodes.Items[len(nodes.Items)-1].Name
	privileged := true
	for _, p := range []struct {
		pod  **corev1.Pod
		name string
		spec corev1.PodSpec
	}{
		{&s.target, "target", corev1.PodSpec{NodeName: near, Containers: []corev1.Container{
			container("serve", "/part", "serve", fmt.Sprint(stolenPort), fmt.Sprint(directPort)), container("echo", "/part", "echo", fmt.Sprint(echoPort)),
		}}},
		{&s.asker, "asker", corev1.PodSpec{NodeName: far, Containers: []corev1.Container{container("asker", "/visitor", "wait")}}},
		{&s.watcher, "watcher", corev1.PodSpec{NodeName: near, HostPID: true, Containers: []corev1.Container{container("watcher", "/visitor", "wait")}}},
	} {
		if p.spec.HostPID {
			p.spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &privileged}
		}
		p.spec.TerminationGracePeriodSeconds = new(int64)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: p.name}, Spec: p.spec}
		if _, err := s.client.CoreV1().Pods(s.ns).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			return err
		}
		if err := s.eventually(ctx, p.name+" runs", func() (done bool, err error) {
			*p.pod, err = s.client.CoreV1().Pods(s.ns).Get(ctx, p.name, metav1.GetOptions{})
			return err == nil && isReady(*p.pod), err
		}); err != nil {
			return err
		}
	}
	_, err = s.in(ctx, s.asker, "/part", "up", s.at(stolenPort), s.at(directPort), s.at(echoPort))
	return err
}

func container(name string, command ...string) corev1.Container {
	return corev1.Container{Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: command}
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// eventually asks for at most a minute.
func (s *stage) eventually(ctx context.Context, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not within a minute: "+what))
	defer cancel()
	for {
		if done, err := holds(); done || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// at is the target's port as the asker reaches it.
func (s *stage) at(port int) string { return fmt.Sprintf("%s:%d", s.target.Status.PodIP, port) }

// in runs a command in a pod and returns what it printed.
func (s *stage) in(ctx context.Context, pod *corev1.Pod, command ...string) ([]byte, error) {
	var out, words bytes.Buffer
	if err := s.exec(ctx, pod, command, nil, &out, &words); err != nil {
		return nil, fmt.Errorf("%q: %w: %s", command, err, words.String())
	}
	return out.Bytes(), nil
}

// measured runs a role in a pod and returns the durations that it printed.
func (s *stage) measured(ctx context.Context, words ...string) (took [][]time.Duration, err error) {
	out, err := s.in(ctx, s.asker, append([]string{"/part"}, words...)...)
	if err != nil {
		return nil, err
	}
	return took, json.Unmarshal(out, &took)
}

// close removes the namespace.
func (s *stage) close() error {
	err := os.RemoveAll(s.dir)
	if s.ns != "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = errors.Join(err, s.client.CoreV1().Namespaces().Delete(ctx, s.ns, metav1.DeleteOptions{}))
	}
	return err
}
