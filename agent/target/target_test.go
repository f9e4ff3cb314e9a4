//go:build linux

package target

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/agent/internal/testpod"
)

func TestMain(m *testing.M) {
	testpod.Main(m, map[string]func(){"rooted": rooted, "elsewhere": elsewhere, "entered": entered, "confined": confined, "where": where})
}

// rooted is a process whose root is its argument. It says when it is there and lives as long as its standard input.
func rooted() {
	if err := errors.Join(unix.Chroot(os.Args[1]), unix.Chdir("/")); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// start runs a helper that is rooted in dir and opens it as a target; kill ends it.
func start(t *testing.T, dir string, env ...string) (target *Target, kill func()) {
	t.Helper()
	cmd := testpod.Helper(t, "rooted", dir)
	cmd.Env = append(cmd.Env, env...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, err := stdout.Read(line)
	if err != nil || string(line[:n]) != "ready\n" {
		t.Fatalf("helper says %q, %v", line[:n], err)
	}
	target, err = Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
		if err := target.Close(); err != nil {
			t.Error(err)
		}
	})
	return target, func() { _ = cmd.Process.Kill() }
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func TestFilesStayBelowTheTargetsRoot(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "secret"), "not the target's")
	write(t, filepath.Join(dir, "run/resolv.conf"), "nameserver 10.0.0.1\n")
	write(t, filepath.Join(dir, outside, "secret"), "the target's own")
	for link, to := range map[string]string{
		"etc/resolv.conf": "/run/resolv.conf", "absolute": filepath.Join(outside, "secret"),
		"upwards": "../../../../../../.." + filepath.Join(outside, "secret"),
	} {
		path := filepath.Join(dir, link)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(to, path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	target, kill := start(t, dir)
	for name, want := range map[string]string{
		"etc/resolv.conf": "nameserver 10.0.0.1\n", "absolute": "the target's own", "upwards": "the target's own", "fifo": "",
	} {
		if got, err := fs.ReadFile(target.Files(), name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := fs.ReadFile(target.Files(), "etc/hosts"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := fs.ReadFile(target.Files(), "../x"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("path with ..: %v", err)
	}
	kill()
	<-target.Exited()
	if _, err := fs.ReadFile(target.Files(), "etc/resolv.conf"); err == nil {
		t.Error("a file of a process that ended was read")
	}
}

func TestEnvironmentIsTheProcesssOwn(t *testing.T) {
	target, _ := start(t, t.TempDir(), "FIRST=1", "EMPTY=", "LINES=a\nb", "FIRST=2")
	environment, err := target.Environment()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FIRST=2", "EMPTY=", "LINES=a\nb"} {
		if !slices.Contains(environment, want) {
			t.Errorf("no %q", want)
		}
	}
}

func TestExitedTellsTheEnd(t *testing.T) {
	target, kill := start(t, t.TempDir())
	select {
	case <-target.Exited():
		t.Fatal("exited before its end")
	default:
	}
	kill()
	select {
	case <-target.Exited():
	case <-time.After(10 * time.Second):
		t.Fatal("not told of the end")
	}
}

func TestProcessThatDoesNotExistIsESRCH(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cmd.Process.Pid); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("ended process: %v", err)
	}
}

func TestDescribeWithoutResolvConfIsEmptyThere(t *testing.T) {
	target, _ := start(t, t.TempDir())
	d, err := target.Describe(true)
	if err != nil || d.ResolvConf != "" || d.Hostname != "web-0" || len(d.Environment) == 0 {
		t.Errorf("hostname %q, %d bytes of resolv.conf, %d variables, %v", d.Hostname, len(d.ResolvConf), len(d.Environment), err)
	}
}
