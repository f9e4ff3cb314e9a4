//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// exec runs a command in a pod's container ("" is the first) and returns what it printed.
func (f *fixture) exec(ctx context.Context, namespace, pod, container string, argv ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	err := f.stream(ctx, namespace, pod, container, nil, &out, &errs, argv...)
	if err != nil {
		return out.Bytes(), fmt.Errorf("exec %q in %s: %w\n%s", argv, pod, err, errs.String())
	}
	return out.Bytes(), nil
}

// stream runs a command in a pod's container with its standard streams until it ends.
func (f *fixture) stream(ctx context.Context, namespace, pod, container string, in io.Reader, out, errs io.Writer, argv ...string) error {
	q := f.client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Container: container, Command: argv, Stdin: in != nil, Stdout: true, Stderr: true,
	}, scheme.ParameterCodec)
	e, err := remotecommand.NewWebSocketExecutor(f.config, "GET", q.URL().String())
	if err != nil {
		return err
	}
	return e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: errs})
}

// seen is what "visitor look" prints of a pod.
type seen struct {
	Processes []process
	Tables    []string
}

type process struct {
	PID    int // on the node
	Name   string
	Cgroup string
	RSS    int // in KiB
}

// look tells what runs in a pod, and its packet filter tables.
func (f *fixture) look(ctx context.Context, pod *corev1.Pod) (s seen, err error) {
	out, err := f.exec(ctx, f.namespace, f.watchers[pod.Spec.NodeName], "", "/visitor", "look", string(pod.UID))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// signal sends a signal ("KILL") to a process of a node.
func (f *fixture) signal(ctx context.Context, node, signal string, pid int) error {
	_, err := f.exec(ctx, f.namespace, f.watchers[node], "", "/visitor", "signal", signal, fmt.Sprint(pid))
	return err
}
