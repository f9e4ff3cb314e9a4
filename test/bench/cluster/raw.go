//go:build linux

package main

import (
	"context"
	"errors"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// exec runs a command in a pod as client-go does: this is the raw link.
func (s *stage) exec(ctx context.Context, pod *corev1.Pod, command []string, in io.Reader, out, words io.Writer) error {
	url := s.client.CoreV1().RESTClient().Get().Resource("pods").Namespace(s.ns).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: pod.Spec.Containers[0].Name, Command: command, Stdin: in != nil, Stdout: true, Stderr: words != nil,
		}, scheme.ParameterCodec).URL().String()
	executor, err := remotecommand.NewWebSocketExecutor(s.config, "GET", url)
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: words})
}

// raw is the standard input and output of a command in the target. Its goroutine is the exec's; Close ends and awaits it.
type raw struct {
	io.Reader
	io.WriteCloser
	cancel context.CancelFunc
	ended  chan error
}

func (s *stage) openRaw(ctx context.Context, command ...string) *raw {
	ctx, cancel := context.WithCancel(ctx)
	in, ours := io.Pipe()
	out, theirs := io.Pipe()
	r := &raw{Reader: out, WriteCloser: ours, cancel: cancel, ended: make(chan error, 1)}
	go func() {
		err := s.exec(ctx, s.target, command, in, theirs, nil)
		_ = in.CloseWithError(err)
		_ = theirs.CloseWithError(errors.Join(io.EOF, err))
		r.ended <- err
	}()
	return r
}

// Close ends the command by the end of its standard input, at the latest with the connection.
func (r *raw) Close() error {
	_ = r.WriteCloser.Close()
	r.cancel()
	<-r.ended
	return nil
}
