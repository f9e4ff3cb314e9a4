//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/internal/testkit"
	"podstep.dev/test/bench/role"
)

// session is a running "podstep run" that steals the target's port.
type session struct {
	cmd   *exec.Cmd
	words testkit.Output
	// took is from its start to the end of the first stolen request.
	took time.Duration
}

// steal starts a session and returns when the debuggee has answered the first request.
func (s *stage) steal(ctx context.Context, kind string, linger int) (*session, error) {
	answered := make(chan error, 1)
	var first int64
	asking, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		out, err := s.in(asking, s.asker, "/part", "await", s.at(stolenPort))
		if err == nil {
			err = json.Unmarshal(out, &first)
		}
		answered <- err
	}()
	r := &session{cmd: exec.CommandContext(ctx, filepath.Join(s.bin, "podstep"), "run", "-n", s.ns, "--target", "pod/target",
		"--steal", fmt.Sprintf("%d:%d", stolenPort, localPort), "--agent", kind, "--linger", fmt.Sprint(linger),
		"--env", role.Debuggee+"=1", "--", s.part(), "serve", fmt.Sprint(localPort))}
	r.cmd.Stdout, r.cmd.Stderr = &r.words, &r.words
	// The asking has begun by then.
	time.Sleep(settling)
	began := time.Now()
	if err := r.cmd.Start(); err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	if err := <-answered; err != nil {
		return nil, fmt.Errorf("%w; podstep said: %s", errors.Join(err, r.end()), r.words.String())
	}
	r.took = time.Unix(0, first).Sub(began)
	return r, nil
}

// settling is how long an exec is given to begin, and what has ended to be gone.
const settling = time.Second

// end ends the session as Ctrl-C does.
func (r *session) end() error {
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	_ = r.cmd.Wait() // ended by the signal
	return nil
}

// agentsGone waits until no agent runs.
func (s *stage) agentsGone(ctx context.Context) error {
	return s.eventually(ctx, "no agent runs", func() (bool, error) {
		pods, err := s.client.CoreV1().Pods(s.ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, pod := range pods.Items {
			for _, c := range pod.Status.EphemeralContainerStatuses {
				if c.State.Terminated == nil {
					return false, nil
				}
			}
		}
		return len(pods.Items) == len([]*corev1.Pod{s.target, s.asker, s.watcher}), nil
	})
}
