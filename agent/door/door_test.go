//go:build linux

package door

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

const roleVariable = "PODSTEP_TEST_DOOR"

func TestMain(m *testing.M) {
	if path := os.Getenv(roleVariable); path != "" {
		if err := Join(context.Background(), path, 0, 1); err != nil {
			_, _ = os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// house serves links by a function.
type house struct {
	serve    func(ctx context.Context, conn io.ReadWriteCloser) error
	sessions []wire.Session
}

func (h house) Serve(ctx context.Context, conn io.ReadWriteCloser) error { return h.serve(ctx, conn) }
func (h house) Sessions() wire.Sessions                                  { return wire.Sessions{Sessions: h.sessions} }

// open opens a door that leads to h until the test ends or shut is called, which waits.
func open(t *testing.T, h house) (path string, logs *observer.ObservedLogs, shut func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "door")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	core, logs := observer.New(zapcore.DebugLevel)
	path = filepath.Join(dir, "sock")
	d, err := Open(path, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { d.Serve(ctx, h) })
	shut = func() { cancel(); serving.Wait() }
	t.Cleanup(shut)
	return path, logs, shut
}

// guest is a program that joins.
func guest(t *testing.T, path string) (cmd *exec.Cmd, in io.WriteCloser, out io.ReadCloser) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = theirs, &testkit.Output{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	t.Cleanup(func() { _ = in.Close(); _ = out.Close(); _ = cmd.Process.Kill() })
	return cmd, in, out
}

// echo is a house whose links answer what they hear until it ends.
func echo() house {
	return house{serve: func(_ context.Context, conn io.ReadWriteCloser) error {
		_, err := io.Copy(conn, conn)
		return errors.Join(err, conn.Close())
	}}
}

func TestJoinIsOverWithItsLink(t *testing.T) {
	path, _, _ := open(t, echo())
	cmd, in, out := guest(t, path)
	want := strings.Repeat("over the link ", 100_000)
	go func() { _, _ = io.WriteString(in, want); _ = in.Close() }()
	got, err := io.ReadAll(out)
	if err != nil || string(got) != want {
		t.Errorf("%d bytes came back, %v; want %d", len(got), err, len(want))
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("join: %v: %s", err, cmd.Stderr)
	}
}

func TestLinkEndsWithItsJoin(t *testing.T) {
	joined, ended := make(chan struct{}), make(chan error, 1)
	path, _, _ := open(t, house{serve: func(_ context.Context, conn io.ReadWriteCloser) error {
		close(joined)
		_, err := conn.Read(make([]byte, 1))
		ended <- err
		return nil
	}})
	cmd, _, out := guest(t, path)
	<-joined // who is gone before that is not let in
	testkit.Eventually(t, "the link is handed over", func() bool { return stdoutIsNull(cmd.Process.Pid) })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("read: %v", err)
		}
	case <-time.After(testkit.Patience):
		t.Fatal("the link outlives its join")
	}
	_ = cmd.Wait() // not before: it closes the other end of the link
	if _, err := out.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the other end reads %v, want EOF", err)
	}
}

// stdoutIsNull tells whether a join has handed its link over.
func stdoutIsNull(pid int) bool {
	to, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "fd/1"))
	return err == nil && to == os.DevNull
}

func TestJoinHasTheLastWords(t *testing.T) {
	path, _, _ := open(t, house{serve: func(_ context.Context, conn io.ReadWriteCloser) error {
		return errors.Join(errors.New("the agent's lifetime is over"), conn.Close())
	}})
	cmd, _, _ := guest(t, path)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 || cmd.Stderr.(*testkit.Output).String() != "the agent's lifetime is over" {
		t.Errorf("%v: %s", err, cmd.Stderr)
	}
}

func TestDoorWaitsForItsGuests(t *testing.T) {
	served := make(chan struct{})
	path, _, shut := open(t, house{serve: func(ctx context.Context, conn io.ReadWriteCloser) error {
		close(served)
		<-ctx.Done()
		return conn.Close()
	}})
	cmd, _, _ := guest(t, path)
	<-served
	shut()
	if err := cmd.Wait(); err != nil {
		t.Errorf("join: %v: %s", err, cmd.Stderr)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestSessionsAreListed(t *testing.T) {
	want := []wire.Session{{Holder: wire.Holder{Name: "alice", Session: "a1"}, Program: "podstep", Subscriptions: []wire.SubscribeParams{}}}
	path, _, _ := open(t, house{sessions: want})
	got, err := Sessions(t.Context(), path)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestDoorIsOpenToItsOwnContainerOnly(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: another user and another mount namespace are needed")
	}
	path, logs, _ := open(t, echo())
	for name, test := range map[string]struct {
		attributes *syscall.SysProcAttr
		words      string
	}{
		"another user":            {&syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}, "guest is user 12345"},
		"another mount namespace": {&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}, "guest is of another container"},
	} {
		// As if it were not guarded by the modes of files.
		if err := errors.Join(os.Chmod(path, 0o777), os.Chmod(filepath.Dir(path), 0o777)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Env = append(os.Environ(), roleVariable+"="+path)
		cmd.SysProcAttr = test.attributes
		cmd.Stdin = strings.NewReader("hello")
		if out, _ := cmd.Output(); len(out) > 0 {
			t.Errorf("%s: served: %s", name, out)
		}
		testkit.Eventually(t, name+" is refused", func() bool {
			for _, entry := range logs.FilterMessage("guest refused").All() {
				if err, ok := entry.ContextMap()["error"].(string); ok && strings.Contains(err, test.words) {
					return true
				}
			}
			return false
		})
	}
}

func TestDoorRefusesBadGreetings(t *testing.T) {
	path, logs, _ := open(t, echo())
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	fd := int(null.Fd())
	for name, greeting := range map[string]func(*net.UnixConn){
		"a join without a link":   func(c *net.UnixConn) { _ = send(c, askJoin) },
		"a join with half a link": func(c *net.UnixConn) { _ = send(c, askJoin, fd) },
		"a join with too much":    func(c *net.UnixConn) { _ = send(c, askJoin, fd, fd, fd, fd, fd) },
		"something else":          func(c *net.UnixConn) { _ = send(c, '?', fd, fd) },
		"nothing":                 func(c *net.UnixConn) { _ = c.CloseWrite() },
		"credentials instead of files": func(c *net.UnixConn) {
			_, _, _ = c.WriteMsgUnix([]byte{askJoin}, unix.UnixCredentials(&unix.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}), nil)
		},
	} {
		before := descriptorCount(t)
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		greeting(c)
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: answered by %d bytes", name, n)
		}
		_ = c.Close()
		testkit.Eventually(t, name+": descriptors closed", func() bool { return descriptorCount(t) <= before })
	}
	if n := logs.FilterMessage("guest refused").Len(); n < 5 {
		t.Errorf("%d refusals were logged", n)
	}
	// Who says nothing at all does not hold the door up.
	silent, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	if _, err := Sessions(t.Context(), path); err != nil {
		t.Error(err)
	}
}

func descriptorCount(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestDoorIsOneProcesssAtATime(t *testing.T) {
	path, _, shut := open(t, echo())
	if _, err := Open(path, zap.NewNop()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second one: %v", err)
	}
	shut()
	// A socket that a killed process left is nobody's.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	d, err := Open(path, zap.NewNop())
	if err != nil {
		t.Fatalf("a socket that nobody listens at: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	_ = d.listener.Close()
}
