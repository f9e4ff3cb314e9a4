package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"podstep.dev/internal/testkit/dapclient"
)

// editor is a scripted one: podstep dap on its standard input and output, and the client that speaks to it.
type editor struct {
	*dapclient.Client
	cmd   *exec.Cmd
	words *tail
	over  chan struct{}
	err   error

	shown int // bytes of podstep's outputs that were shown
}

// startEditor starts podstep as an editor does. Session directories go below runtimeDir.
func startEditor(p place, runtimeDir string) (*editor, error) {
	e := &editor{words: &tail{}, over: make(chan struct{})}
	e.cmd = exec.Command(p.podstep, "dap")
	e.cmd.Dir = p.root
	e.cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+runtimeDir)
	e.cmd.Stderr = e.words
	e.cmd.WaitDelay = time.Second
	in, err := e.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// Not StdoutPipe: Wait would close it before the last message is read.
	out, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	e.cmd.Stdout = theirs
	if err := e.cmd.Start(); err != nil {
		_ = out.Close()
		return nil, fmt.Errorf("start podstep dap: %w", err)
	}
	e.Client = dapclient.New(stdio{in, out})
	go func() {
		defer close(e.over)
		e.err = e.cmd.Wait()
	}()
	return e, nil
}

// stdio is the editor's end of podstep's standard input and output.
type stdio struct {
	io.WriteCloser
	out *os.File
}

func (s stdio) Read(b []byte) (int, error) { return s.out.Read(b) }

// Close closes podstep's standard input, as an editor does at the end. The output ends with podstep.
func (s stdio) Close() error { return s.WriteCloser.Close() }

// await waits until podstep has ended.
func (e *editor) await(ctx context.Context) error {
	select {
	case <-e.over:
		return e.err
	case <-ctx.Done():
		return fmt.Errorf("podstep dap does not end: %w", context.Cause(ctx))
	}
}

// kill ends podstep if it runs still.
func (e *editor) kill() {
	select {
	case <-e.over:
	default:
		_ = e.cmd.Process.Kill()
		<-e.over
	}
	_ = e.Client.Close()
}

// outputs is what the debug console would show since it was asked last.
func (e *editor) outputs() string {
	all := e.Outputs()
	fresh := all[e.shown:]
	e.shown = len(all)
	return fresh
}

// launch is the configuration of F5.
func (p place) launch(pid int) map[string]any {
	return map[string]any{
		"name": "shop, in the place of the pod's", "type": "podstep", "request": "launch",
		"debugger": "dlv", "mode": "debug",
		"program": filepath.Dir(p.source), "cwd": filepath.Dir(p.source), "dlvToolPath": p.dlv,
		"mirror": map[string]any{
			"target":   "process/" + strconv.Itoa(pid),
			"incoming": map[string]any{"mode": "steal"},
			"env": map[string]any{
				"include": []string{"*"}, "exclude": []string{"PATH", "HOME"}, "override": map[string]string{"ANSWERED_BY": "debuggee"},
			},
		},
	}
}

// stop is where the debuggee stopped, and what it shows there.
type stop struct {
	thread    int
	file      string
	line      int
	variables map[string]string
}

// stopped waits for the breakpoint and looks around.
func (e *editor) stopped(ctx context.Context) (s stop, err error) {
	at, err := e.Stopped(ctx)
	if err != nil {
		return s, err
	}
	if at.Reason != "breakpoint" {
		return s, fmt.Errorf("stopped for %q, not at the breakpoint", at.Reason)
	}
	s = stop{thread: at.ThreadID, variables: map[string]string{}}
	m, err := e.Request(ctx, "stackTrace", map[string]any{"threadId": at.ThreadID, "startFrame": 0, "levels": 1})
	if err != nil {
		return s, err
	}
	var trace struct {
		StackFrames []struct {
			ID     int `json:"id"`
			Line   int `json:"line"`
			Source struct {
				Path string `json:"path"`
			} `json:"source"`
		} `json:"stackFrames"`
	}
	if err := m.Decode(&trace); err != nil {
		return s, err
	}
	if len(trace.StackFrames) == 0 {
		return s, fmt.Errorf("thread %d has no frames", at.ThreadID)
	}
	frame := trace.StackFrames[0]
	s.file, s.line = frame.Source.Path, frame.Line
	for _, expression := range []string{"id", "client", "r.Method", "r.URL.Path", "r.Host"} {
		if s.variables[expression], err = e.evaluate(ctx, frame.ID, expression); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (e *editor) evaluate(ctx context.Context, frame int, expression string) (string, error) {
	m, err := e.Request(ctx, "evaluate", map[string]any{"expression": expression, "frameId": frame, "context": "watch"})
	if err != nil {
		return "", err
	}
	var body struct {
		Result string `json:"result"`
	}
	if err := m.Decode(&body); err != nil {
		return "", err
	}
	return strings.Trim(body.Result, `"`), nil
}

// proceed clears the breakpoints, if it is to, and continues.
func (e *editor) proceed(ctx context.Context, p place, s stop) error {
	source := map[string]any{"path": p.source, "name": filepath.Base(p.source)}
	if _, err := e.Request(ctx, "setBreakpoints", map[string]any{"source": source, "breakpoints": []any{}}); err != nil {
		return err
	}
	_, err := e.Request(ctx, "continue", map[string]any{"threadId": s.thread})
	return err
}

// tail keeps the end of what podstep writes to its standard error, for the text of a failure.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	t.kept = t.kept[max(0, len(t.kept)-8<<10):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
