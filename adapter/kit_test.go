package adapter

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/dapclient"
	"podstep.dev/launcher"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "rewrite the transcripts")
	goleak.VerifyTestMain(m)
}

// mark is in the environment of everything that a test's session starts, so that what it leaves is found.
const mark = "PODSTEP_TEST_SESSION"

// fakeBorrow borrows nothing: commands stay as they are.
type fakeBorrow struct {
	dir  string
	env  map[string]string
	done chan struct{}
	log  *requests.Log

	mu     sync.Mutex
	err    error
	paused []bool
	hang   chan struct{} // if not nil, Close waits for its end
	closed int
	traced []bool
}

func (b *fakeBorrow) Command(argv []string, traced bool) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.traced = append(b.traced, traced)
	return argv
}

func (b *fakeBorrow) Env() map[string]string  { return b.env }
func (b *fakeBorrow) SessionDir() string      { return b.dir }
func (b *fakeBorrow) Status() borrow.Status   { return borrow.Status{Target: "process/1", Mode: "steal"} }
func (b *fakeBorrow) Requests() *requests.Log { return b.log }
func (b *fakeBorrow) Done() <-chan struct{}   { return b.done }

func (b *fakeBorrow) SetPaused(p bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = append(b.paused, p)
}

func (b *fakeBorrow) times() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *fakeBorrow) pauses() []bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.paused)
}

func (b *fakeBorrow) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *fakeBorrow) lose(err error) {
	b.mu.Lock()
	b.err = err
	b.mu.Unlock()
	close(b.done)
}

func (b *fakeBorrow) Close() error {
	if b.hang != nil {
		<-b.hang
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	return os.RemoveAll(b.dir)
}

// tree is a process with all that carries its mark: what the keeper does, without one.
type tree struct {
	cmd  *exec.Cmd
	mark string
	over chan struct{}
	err  error
}

func startTree(_ context.Context, p launcher.Process) (Tree, error) {
	path, err := exec.LookPath(p.Argv[0])
	if err != nil {
		return nil, err
	}
	t := &tree{cmd: &exec.Cmd{Path: path, Args: p.Argv, Dir: p.Dir, Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr}, over: make(chan struct{})}
	env := slices.Clone(p.Env)
	for i, e := range env {
		if v, ok := strings.CutPrefix(e, mark+"="); ok {
			t.mark = v + "-" + rand.Text() // an old tree's Kill must not reach a new one
			env[i] = mark + "=" + t.mark
		}
	}
	t.cmd.Env = env
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { t.err = t.cmd.Wait(); close(t.over) }()
	return t, nil
}

func (t *tree) Wait() error { <-t.over; return t.err }

func (t *tree) Kill() error {
	for range 1000 {
		pids := marked(t.mark)
		if len(pids) == 0 {
			<-t.over
			return nil
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be over already
		}
		<-time.After(5 * time.Millisecond)
	}
	return fmt.Errorf("still there: %v", marked(t.mark))
}

// marked lists the living processes that carry the mark.
func marked(mark string) []int {
	var pids []int
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		environ, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(environ, []byte("PODSTEP_TEST_SESSION="+mark)) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(path, "/proc/%d/environ", &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// bench is one session under test with its scripted editor.
type bench struct {
	*dapclient.Client
	t      *testing.T
	borrow *fakeBorrow
	mark   string
	thread int // that stopped last
	served chan error
	cancel context.CancelCauseFunc
}

// startSession serves a session to a scripted editor. When the test ends nothing of it may be left.
func startSession(t *testing.T, change func(*Options)) *bench {
	t.Helper()
	ours, theirs := net.Pipe()
	b := &bench{
		t: t, mark: rand.Text(), served: make(chan error, 1),
		borrow: &fakeBorrow{dir: sessionDir(t), done: make(chan struct{}), log: requests.New(requests.Options{})},
	}
	opts := Options{
		Log: zaptest.NewLogger(t), Start: startTree,
		Environ: append(os.Environ(), mark+"="+b.mark),
		Begin: func(_ context.Context, w Wish) (Borrow, error) {
			w.Say("attached to " + string(w.Mirror))
			return b.borrow, nil
		},
	}
	if change != nil {
		change(&opts)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	b.cancel = cancel
	b.Client = dapclient.New(ours)
	go func() { b.served <- Serve(ctx, theirs, opts) }()
	t.Cleanup(func() {
		cancel(nil)
		_ = b.Close()
		testkit.Eventually(t, "no process left", func() bool { return len(marked(b.mark)) == 0 })
	})
	return b
}

// process returns the id of the session's process whose program is called name.
func (b *bench) process(name string) int {
	b.t.Helper()
	for _, pid := range marked(b.mark) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err == nil && filepath.Base(exe) == name {
			return pid
		}
	}
	b.t.Fatalf("no process %q", name)
	return 0
}

// commanded returns the id of the session's process whose command line contains text.
func (b *bench) commanded(text string) int {
	b.t.Helper()
	for _, pid := range marked(b.mark) {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && bytes.Contains(line, []byte(text)) {
			return pid
		}
	}
	b.t.Fatalf("no process with %q", text)
	return 0
}

func (b *bench) initialize(ctx context.Context, adapterID string) {
	b.t.Helper()
	_, err := b.Initialize(ctx, adapterID)
	check(b.t, err)
}

func (b *bench) request(ctx context.Context, command string, arguments any) dapclient.Message {
	b.t.Helper()
	m, err := b.Request(ctx, command, arguments)
	check(b.t, err)
	return m
}

// stopped waits until the program stops and checks variables.
func (b *bench) stopped(ctx context.Context, want map[string]string) {
	b.t.Helper()
	stop, err := b.Stopped(ctx)
	check(b.t, err)
	b.thread = stop.ThreadID
	b.variables(ctx, want)
}

// variables checks those of the innermost frame of the thread that stopped last.
func (b *bench) variables(ctx context.Context, want map[string]string) {
	b.t.Helper()
	if want == nil {
		return
	}
	frames, err := b.Frames(ctx, b.thread)
	check(b.t, err)
	got, err := b.Variables(ctx, frames[0].ID)
	check(b.t, err)
	for name, value := range want {
		if got[name] != value {
			b.t.Errorf("%s = %q, want %q (of %v)", name, got[name], value, got)
		}
	}
}

// sessionDir is short: unix sockets stand in it.
func sessionDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "podstep-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// over waits for Serve and checks that everything was given back.
func (b *bench) over(want error) {
	b.t.Helper()
	select {
	case err := <-b.served:
		if !errors.Is(err, want) {
			b.t.Errorf("Serve: %v, want %v", err, want)
		}
	case <-time.After(testkit.Patience):
		b.t.Fatal("Serve did not return")
	}
	if left := marked(b.mark); len(left) > 0 {
		b.t.Errorf("processes left: %v", left)
	}
}

// patiently bounds what a test waits for.
func patiently(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
