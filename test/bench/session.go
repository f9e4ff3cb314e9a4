//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"podstep.dev/adapter"
	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/adapter/process"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/pod"
	"podstep.dev/internal/wire"
)

// late is a provider whose links carry every byte later.
type late struct {
	process.Provider
	oneWay time.Duration
}

func (l late) Find(ctx context.Context, m config.Mirror, say func(string)) (place.Target, error) {
	target, err := l.Provider.Find(ctx, m, say)
	if err != nil || l.oneWay == 0 {
		return target, err
	}
	return lateTarget{target, l.oneWay}, nil
}

type lateTarget struct {
	place.Target
	oneWay time.Duration
}

// Places has the target's one set.
func (l lateTarget) Places(ctx context.Context) <-chan []place.Place {
	sets := make(chan []place.Place, 1)
	set := <-l.Target.Places(ctx)
	for i, p := range set {
		set[i] = latePlace{p, l.oneWay}
	}
	sets <- set
	context.AfterFunc(ctx, func() { close(sets) })
	return sets
}

type latePlace struct {
	place.Place
	oneWay time.Duration
}

func (l latePlace) Attach(ctx context.Context) (io.ReadWriteCloser, error) {
	conn, err := l.Place.Attach(ctx)
	if err != nil {
		return nil, err
	}
	return testkit.Delay(conn, l.oneWay)
}

// with runs the program itself in the given role as the debuggee of a session with the pod, calls do while it runs, and
// returns what the debuggee printed. Without do it waits for the debuggee's end. The link is oneWay late.
func (b *bench) with(ctx context.Context, role string, oneWay time.Duration, do func() error) (string, error) {
	s := setup{role: role, oneWay: oneWay}
	if do == nil {
		return b.session(ctx, s, nil)
	}
	return b.session(ctx, s, func(*borrow.Borrow) error { return do() })
}

// setup is a session's.
type setup struct {
	// role is the debuggee's.
	role   string
	oneWay time.Duration
	// change changes the block. If nil, all that comes to the port is stolen.
	change func(*config.Mirror) error
}

// session is with, with the borrow at hand.
func (b *bench) session(ctx context.Context, s setup, do func(*borrow.Borrow) error) (string, error) {
	m := config.Default()
	m.Target = fmt.Sprintf("process/%d", b.pod.PID())
	m.Incoming = config.Incoming{Mode: config.ModeSteal, Ports: map[uint16]uint16{stolenPort: localPort}}
	m.Env.Override = map[string]string{roleVar: s.role}
	if s.change != nil {
		if err := s.change(&m); err != nil {
			return "", err
		}
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		return "", err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return "", err
	}
	defer null.Close()
	ready := make(chan struct{}, 1)
	opts := borrow.Options{
		Provider:  late{oneWay: s.oneWay},
		Hello:     wire.Hello{Program: "bench", Holder: "bench", Session: "bench"},
		Listening: func(uint16) { ready <- struct{}{} },
	}
	ended := make(chan error, 1)
	signals := make(chan os.Signal, 1)
	borrowed := make(chan *borrow.Borrow, 1)
	go func() {
		command := adapter.Command{Argv: []string{b.self}, Stdin: null, Stdout: theirs, Stderr: os.Stderr, Signals: signals}
		status, err := adapter.Run(ctx, command, func(ctx context.Context) (adapter.Borrow, error) {
			begun, err := borrow.Start(ctx, m, opts)
			if err != nil {
				return nil, err
			}
			borrowed <- begun
			return begun, nil
		})
		if err == nil && do == nil && status.Code != 0 {
			err = fmt.Errorf("role %s: exit status %d", s.role, status.Code)
		}
		_ = theirs.Close()
		ended <- err
	}()
	if do != nil {
		select {
		case <-ready:
			err = do(<-borrowed)
		case err = <-ended:
			return "", errors.Join(errors.New("the debuggee ended early"), err)
		}
		signals <- os.Interrupt
	}
	printed, readErr := io.ReadAll(out)
	return string(printed), errors.Join(err, readErr, <-ended, out.Close())
}

// inPod runs the program itself in the given role in the pod and returns what it printed.
func (b *bench) inPod(role string) (string, error) {
	var out bytes.Buffer
	proc, err := b.pod.Exec(pod.Command{Args: []string{b.self}, Env: []string{roleVar + "=" + role}, Stdout: &out, Stderr: os.Stderr})
	if err != nil {
		return "", err
	}
	if status := proc.Wait(); status.ExitStatus() != 0 {
		return "", fmt.Errorf("role %s: %v", role, status)
	}
	return out.String(), nil
}
