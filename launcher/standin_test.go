//go:build linux

package launcher

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"podstep.dev/internal/testkit"
	"podstep.dev/launcher/rules"
)

const (
	standInEnv = "PODSTEP_TEST_STAND_IN"
	uniqueEnv  = "PODSTEP_TEST_UNIQUE"
)

// spec says what a stand-in adapter does: it listens for launchers in Dir, and runs Argv below a keeper if there is one.
type spec struct {
	Dir         string
	Argv        []string
	Intercepted bool
	Traced      bool
	Foreground  bool
	// Blind takes from the adapter every way to look into another process, as Yama does for those that are not below it.
	Blind bool
	// Misplaced makes the adapter take every launcher for one below it.
	Misplaced bool
	// Run makes it like `podstep run`: argv are its arguments, it is silent and ends as the program ended.
	Run bool
	// Out gets the tree's output. If empty, the stand-in's standard error.
	Out string
}

// said is one line that a stand-in says; one field is set.
type said struct {
	Command   []string    `json:",omitempty"`
	Pid       int         `json:",omitempty"`
	Keeper    int         `json:",omitempty"`
	Listening uint16      `json:",omitempty"`
	Started   int         `json:",omitempty"`
	Body      *string     `json:",omitempty"`
	Exited    *ExitStatus `json:",omitempty"`
	Error     string      `json:",omitempty"`
}

// standIn is the process that stands in for podstep. Its standard input is commands: "deliver PORT", "signal N";
// its end is an orderly goodbye.
func standIn(raw string) int {
	var s spec
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		panic(err)
	}
	// The main thread cannot end, so a probe of the kernel that ran on it would leave its filter in the way of goBlind.
	runtime.LockOSThread()
	_ = os.Unsetenv(standInEnv)
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	say := func(w said) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(w)
	}
	if s.Run {
		status, err := s.run(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		status.Exit()
	}
	if err := s.serve(context.Background(), say); err != nil {
		say(said{Error: err.Error()})
		return 1
	}
	return 0
}

func (s spec) listen(ctx context.Context, link *memoryLink, say func(said)) (*Host, error) {
	return Listen(ctx, s.Dir, Options{
		Plan: Plan{
			Hostname:  "web-0",
			Addresses: []netip.Addr{podSelf},
			Rules:     rules.Config{TCP: true, DNS: true},
			Env:       map[string]string{"FROM_POD": "yes"},
		},
		Link:      link,
		Listening: func(_ context.Context, port uint16) { say(said{Listening: port}) },
		Started:   func(pid int) { say(said{Started: pid}) },
	})
}

func (s spec) run(ctx context.Context) (ExitStatus, error) {
	link := newMemoryLink()
	defer link.end()
	host, err := s.listen(ctx, link, func(said) {})
	if err != nil {
		return ExitStatus{}, err
	}
	defer host.Close()
	tree, err := Start(ctx, Process{
		Argv:       host.Command(os.Args[1:], How{}),
		Stdin:      os.Stdin,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		Foreground: s.Foreground,
	})
	if err != nil {
		return ExitStatus{}, err
	}
	defer tree.Kill()
	return tree.Wait()
}

func (s spec) serve(ctx context.Context, say func(said)) error {
	link := newMemoryLink()
	defer link.end()
	host, err := s.listen(ctx, link, say)
	if err != nil {
		return err
	}
	defer host.Close()
	if s.Blind {
		if err := goBlind(); err != nil {
			return err
		}
	}
	if s.Misplaced {
		host.below = func(peer) bool { return true }
	}
	say(said{Command: host.Command(nil, How{Traced: s.Traced})})
	var tree *Tree
	if len(s.Argv) > 0 {
		if tree, err = s.start(ctx, host, say); err != nil {
			return err
		}
		defer tree.Kill()
	}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		verb, arg, _ := strings.Cut(commands.Text(), " ")
		n, _ := strconv.Atoi(arg)
		switch verb {
		case "deliver":
			body, err := request(ctx, host, uint16(n))
			if err != nil {
				body = err.Error()
			}
			say(said{Body: &body})
		case "signal":
			if err := tree.Signal(syscall.Signal(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s spec) start(ctx context.Context, host *Host, say func(said)) (*Tree, error) {
	argv := s.Argv
	if s.Intercepted {
		argv = host.Command(argv, How{Traced: s.Traced})
	}
	out := os.Stderr
	if s.Out != "" {
		f, err := os.Create(s.Out)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		out = f
	}
	tree, err := Start(ctx, Process{Argv: argv, SessionDir: s.Dir, Stdout: out, Stderr: out, Foreground: s.Foreground})
	if err != nil {
		return nil, err
	}
	say(said{Pid: tree.Pid(), Keeper: tree.keeper.Process.Pid})
	go func() {
		status, err := tree.Wait()
		if err != nil {
			say(said{Error: err.Error()})
		}
		say(said{Exited: &status})
	}()
	return tree, nil
}

var (
	client  = netip.MustParseAddrPort("203.0.113.9:4321")
	podPort = func(port uint16) netip.AddrPort { return netip.AddrPortFrom(podSelf, port) }
)

// request delivers one GET and returns the body of the answer.
func request(ctx context.Context, host *Host, port uint16) (string, error) {
	conn, err := host.Deliver(ctx, port, client, podPort(port))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /hello HTTP/1.0\r\nHost: pod\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(body)), err
}

// adapter is a running stand-in as its test sees it.
type adapter struct {
	t      *testing.T
	uid    uint32
	dir    string
	unique string // a variable that all of its processes inherit
	number string // a number that those have in their arguments which inherit no variable
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan said
	seen   []said
}

// startAdapter starts a stand-in as uid and fails the test if anything of it is left in the end.
func startAdapter(t *testing.T, uid uint32, s spec) *adapter {
	t.Helper()
	number := fmt.Sprintf("1000%d%d", os.Getpid(), time.Now().UnixNano())
	a := &adapter{t: t, uid: uid, unique: uniqueEnv + "=" + number, number: number, lines: make(chan said, 100)}
	for i := range s.Argv {
		s.Argv[i] = strings.ReplaceAll(s.Argv[i], "NUMBER", number)
	}
	if s.Dir == "" {
		s.Dir = sessionDir(t, uid)
	}
	a.dir = s.Dir
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	a.cmd = a.command(filepath.Join(os.Getenv(binEnv), "adapter"))
	a.cmd.Env = append(a.cmd.Env, standInEnv+"="+string(raw))
	a.cmd.Stderr = os.Stderr
	if a.stdin, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.lines)
		lines := json.NewDecoder(stdout)
		for {
			var w said
			if lines.Decode(&w) != nil {
				return
			}
			a.lines <- w
		}
	}()
	t.Cleanup(a.endSession)
	return a
}

// endSession ends the adapter and fails the test for what it leaves. It may be called more than once.
func (a *adapter) endSession() {
	_ = a.stdin.Close()
	_ = a.cmd.Process.Kill()
	for range a.lines {
	}
	_ = a.cmd.Wait()
	a.endLeftovers()
}

// command runs a program as the adapter's user, with what makes it findable.
func (a *adapter) command(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), a.unique, "HOME=/", "PATH="+os.Getenv(binEnv)+":/usr/bin:/bin")
	cmd.Dir = "/"
	if int(a.uid) != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.uid}}
	}
	return cmd
}

func sessionDir(t *testing.T, uid uint32) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "podstep-session")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// expect waits for the line that get accepts.
func (a *adapter) expect(what string, accept func(said) bool) said {
	a.t.Helper()
	for _, w := range a.seen {
		if accept(w) {
			return w
		}
	}
	for w := range a.lines {
		a.seen = append(a.seen, w)
		if accept(w) {
			return w
		}
		if w.Error != "" {
			a.t.Fatalf("adapter, instead of %s: %s", what, w.Error)
		}
	}
	a.t.Fatalf("the adapter ended without %s; it said %+v", what, a.seen)
	return said{}
}

func (a *adapter) deliver(port uint16) string {
	a.t.Helper()
	a.seen = nil
	if _, err := fmt.Fprintf(a.stdin, "deliver %d\n", port); err != nil {
		a.t.Fatal(err)
	}
	return *a.expect("the answer to a request", func(w said) bool { return w.Body != nil }).Body
}

func (a *adapter) launcherCommand(argv ...string) *exec.Cmd {
	a.t.Helper()
	prefix := a.expect("the launcher's command", func(w said) bool { return w.Command != nil }).Command
	return a.command(append(append([]string{}, prefix...), argv...)...)
}

func (a *adapter) kill(pid int) {
	a.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		a.t.Fatal(err)
	}
}

// found is a living process of a session.
type found struct {
	task
	command string
}

// processes finds every living process that bears the adapter's name; this process is root or their owner.
func (a *adapter) processes() []found {
	all, err := readTasks()
	if err != nil {
		a.t.Fatal(err)
	}
	var session []found
	for _, t := range all {
		proc := "/proc/" + strconv.Itoa(t.pid)
		environ, err := os.ReadFile(proc + "/environ")
		if !t.alive() || err != nil {
			continue
		}
		cmdline, _ := os.ReadFile(proc + "/cmdline")
		if bytes.Contains(environ, []byte(a.unique)) || bytes.Contains(cmdline, []byte(a.number)) {
			command := strings.TrimSpace(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
			session = append(session, found{task: t, command: command})
		}
	}
	return session
}

// mustVanish waits until no process of the session is left.
func (a *adapter) mustVanish() {
	a.t.Helper()
	testkit.Eventually(a.t, "every process of the session ends", func() bool { return len(a.processes()) == 0 })
}

// mustRemoveDir waits until the session directory is gone.
func (a *adapter) mustRemoveDir() {
	a.t.Helper()
	testkit.Eventually(a.t, "the session directory is removed", func() bool {
		_, err := os.Lstat(a.dir)
		return errors.Is(err, os.ErrNotExist)
	})
}

// endLeftovers reports and ends what a test left.
func (a *adapter) endLeftovers() {
	for deadline := time.Now().Add(5 * time.Second); len(a.processes()) > 0 && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	for _, f := range a.processes() {
		a.t.Errorf("left behind: %d %c %s", f.pid, f.state, f.command)
		_ = f.kill()
	}
}
