package desk

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/dapclient"
)

// OrdinaryUser is the user and group id of somebody without any privilege.
const OrdinaryUser = 12345

// Desk is where one person works.
type Desk struct {
	// Kit is the directory that BuildKit filled.
	Kit string
	// Runtime is the person's XDG_RUNTIME_DIR.
	Runtime string
	// Home is the person's home directory.
	Home string
	// Env is added to the environment of what the person starts.
	Env []string

	t    testing.TB
	ctx  context.Context
	mark string // in the environment of everything that is started here
	uid  int    // of the person, -1: the test's own
}

// New is a desk of the user who runs the test. ctx bounds every wait and every program.
func New(ctx context.Context, t testing.TB, kit string) *Desk {
	t.Helper()
	dir, err := os.MkdirTemp("", "desk-") // not t.TempDir: the path of a unix socket has at most 107 bytes (unix(7))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// What is ending may still make a file between the listing of a directory and its removal.
		testkit.Eventually(t, "the desk's directory is removed", func() bool { return os.RemoveAll(dir) == nil })
	})
	d := &Desk{Kit: kit, Runtime: filepath.Join(dir, "run"), Home: filepath.Join(dir, "home"), t: t, ctx: ctx, uid: -1}
	d.mark = "PODSTEP_TEST_MARK=" + dir
	for _, made := range []string{d.Runtime, d.Home} {
		if err := os.Mkdir(made, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// BecomeOrdinary makes the person an OrdinaryUser. For a test that is run by one it does nothing.
func (d *Desk) BecomeOrdinary() {
	d.t.Helper()
	if os.Getuid() != 0 {
		return
	}
	d.uid = OrdinaryUser
	for _, dir := range []string{filepath.Dir(d.Home), d.Runtime, d.Home} {
		d.Own(dir)
	}
}

// Own gives a file or directory to the person.
func (d *Desk) Own(path string) {
	d.t.Helper()
	if d.uid < 0 {
		return
	}
	if err := os.Chown(path, d.uid, d.uid); err != nil {
		d.t.Fatal(err)
	}
}

// Write writes a file of the person's into the home directory and returns its path.
func (d *Desk) Write(name string, content []byte) string {
	d.t.Helper()
	path := filepath.Join(d.Home, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.Own(path)
	return path
}

// Command is podstep with those arguments, as the person starts it.
func (d *Desk) Command(args ...string) *exec.Cmd {
	return d.Program(filepath.Join(d.Kit, "podstep"), args...)
}

// Program is any program, as the person starts it.
func (d *Desk) Program(path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.ctx, path, args...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+d.Runtime, d.mark)
	if d.uid >= 0 {
		cmd.Env = append(cmd.Env, "HOME="+d.Home, "USER=alice")
		cmd.Dir = d.Home
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(d.uid), Gid: uint32(d.uid)}}
	}
	cmd.Env = append(cmd.Env, d.Env...)
	return cmd
}

// Leftover names the processes that were started here and still run, empty if there are none.
func (d *Desk) Leftover() string {
	var left []string
	for pid := range Processes() {
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if bytes.Contains(environ, []byte(d.mark)) {
			left = append(left, CommandLine(pid))
		}
	}
	return strings.Join(left, "; ")
}

// Files names what sessions left in the runtime directory.
func (d *Desk) Files() []string {
	left, _ := filepath.Glob(filepath.Join(d.Runtime, "podstep", "*"))
	return left
}

// Session is a running "podstep dap" with an editor.
type Session struct {
	*dapclient.Client
	Cmd *exec.Cmd
	// Stdin is the editor's pipe to podstep: closing it is an editor that is gone.
	Stdin io.Closer
	// Exited is closed when podstep has ended.
	Exited <-chan struct{}
	Log    *testkit.Output

	desk *Desk
}

type pipes struct {
	io.Reader
	io.WriteCloser
}

// Start starts podstep dap and says hello. The test's end kills it, and shows its log when the test failed.
func (d *Desk) Start(adapterID string) *Session {
	d.t.Helper()
	exited := make(chan struct{})
	s := &Session{Cmd: d.Command("dap", "--log-level", "debug"), Exited: exited, Log: &testkit.Output{}, desk: d}
	stdin, err := s.Cmd.StdinPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	// Not StdoutPipe: Wait would close it under the reader.
	stdout, theirs, err := os.Pipe()
	if err != nil {
		d.t.Fatal(err)
	}
	s.Cmd.Stdout, s.Cmd.Stderr, s.Stdin = theirs, s.Log, stdin
	if err := s.Cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	_ = theirs.Close()
	s.Client = dapclient.New(pipes{stdout, stdin})
	go func() {
		defer close(exited)
		_ = s.Cmd.Wait()
	}()
	d.t.Cleanup(func() {
		_ = s.Cmd.Process.Kill()
		<-exited
		_ = stdout.Close()
		_ = s.Close()
		if d.t.Failed() {
			d.t.Logf("podstep's log:\n%s", s.Log.String())
		}
	})
	if _, err := s.Initialize(d.ctx, adapterID); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// Descendant returns the topmost process of that name (comm) below podstep: a debugger's own forks have its name until
// they exec.
func (s *Session) Descendant(name string) int {
	s.desk.t.Helper()
	found := 0
	testkit.Eventually(s.desk.t, "a process "+name, func() bool {
		for pid := range Processes() {
			if Comm(pid) == name && Comm(Parent(pid)) != name && Below(pid, s.Cmd.Process.Pid) {
				found = pid
			}
		}
		return found != 0
	})
	return found
}

// Terminal plays the editor's: what is run in it is no descendant of podstep. The arguments and the values of the environment
// of the last command are in words.
func (s *Session) Terminal() (words *[]string) {
	words = &[]string{}
	s.Handle("runInTerminal", func(m dapclient.Message) (any, error) {
		var request struct {
			Cwd  string
			Args []string
			Env  map[string]string
		}
		if err := m.Decode(&request); err != nil {
			return nil, err
		}
		cmd := s.desk.Program(request.Args[0], request.Args[1:]...)
		cmd.Dir = request.Cwd
		for name, value := range request.Env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		*words = append(slices.Clone(request.Args), slices.Collect(maps.Values(request.Env))...)
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		go func() { _ = cmd.Wait() }()
		return map[string]int{"shellProcessId": os.Getpid()}, nil
	})
	return words
}
