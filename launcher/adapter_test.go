//go:build linux

package launcher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"podstep.dev/internal/testkit"
)

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
