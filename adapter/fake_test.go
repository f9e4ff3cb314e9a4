package adapter

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"podstep.dev/adapter/dap"
	"podstep.dev/launcher"
)

// fake is a debugger inside the test: play speaks on its streams until it returns, which is its exit.
type fake struct {
	play func(f *fake) error

	in       *dap.Reader
	out      *os.File
	stderr   *os.File
	once     sync.Once
	streams  []*os.File
	over     chan struct{}
	err      error
	launched int
}

// start takes the place of launcher.Start. The streams are duplicated: the caller closes its own.
func (f *fake) start(_ context.Context, p launcher.Process) (Tree, error) {
	for _, s := range []any{p.Stdin, p.Stdout, p.Stderr} {
		dup, err := duplicate(s.(*os.File))
		if err != nil {
			return nil, err
		}
		f.streams = append(f.streams, dup)
	}
	f.in, f.out, f.stderr, f.over = dap.NewReader(f.streams[0], 0), f.streams[1], f.streams[2], make(chan struct{})
	f.launched++
	go func() {
		f.err = f.play(f)
		f.hangUp()
		close(f.over)
	}()
	return f, nil
}

func (f *fake) Wait() error { <-f.over; return f.err }

func (f *fake) Kill() error {
	f.hangUp()
	<-f.over
	return nil
}

func (f *fake) hangUp() {
	f.once.Do(func() {
		for _, s := range f.streams {
			_ = s.Close()
		}
	})
}

// next returns the next request of that command and answers those before it.
func (f *fake) next(command string) (dap.Message, error) {
	for {
		raw, err := f.in.Read()
		if err != nil {
			return dap.Message{}, err
		}
		m, err := dap.Parse(raw)
		if err != nil {
			return m, err
		}
		if m.Command == command {
			return m, nil
		}
		if err := f.answer(m); err != nil {
			return m, err
		}
	}
}

func (f *fake) answer(m dap.Message) error {
	return f.send(string(dap.Succeed(m, nil).Numbered(1)))
}

func (f *fake) send(raw string) error { return dap.Write(f.out, []byte(raw)) }

// upToLaunch greets, answers launch and says that it is ready.
func (f *fake) upToLaunch() error {
	m, err := f.next("launch")
	if err != nil {
		return err
	}
	if err := f.send(`{"seq":2,"type":"event","event":"initialized"}`); err != nil {
		return err
	}
	return f.answer(m)
}

// withFake starts a session whose debugger is f, launched and ready.
func withFake(t *testing.T, f *fake) (*bench, context.Context) {
	t.Helper()
	b, ctx := startSession(t, func(o *Options) { o.Start = f.start }), patiently(t)
	b.initialize(ctx, "debugpy")
	check(t, b.Launch(ctx, fakeLaunch(t), nil))
	return b, ctx
}

// fakeLaunch is a launch configuration whose Python is there for the asking only.
func fakeLaunch(t *testing.T) map[string]any {
	python := filepath.Join(t.TempDir(), "python")
	check(t, os.WriteFile(python, []byte("#!/bin/sh\n"), 0o755))
	return map[string]any{"program": "x.py", "python": python, "mirror": map[string]any{}}
}

// rawEditor is an editor that reads when the test says so.
type rawEditor struct {
	in  *bufio.Reader
	out io.WriteCloser
	seq int
}

func newRawEditor(in io.Reader, out io.WriteCloser) *rawEditor {
	return &rawEditor{in: bufio.NewReader(in), out: out}
}

func (e *rawEditor) send(command string, arguments any) error {
	e.seq++
	raw, err := json.Marshal(map[string]any{"seq": e.seq, "type": "request", "command": command, "arguments": arguments})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.out, "Content-Length: %d\r\n\r\n%s", len(raw), raw)
	return err
}
