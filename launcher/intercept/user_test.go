//go:build linux

package intercept_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"podstep.dev/launcher/intercept"
)

// TestAllAsOrdinaryUser runs the other tests once more with a supervisor and debuggees that are no root.
func TestAllAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this is an ordinary user already")
	}
	const uid = 12345
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self := filepath.Join(dir, "intercept.test")
	copyFile(t, "/proc/self/exe", self)
	for _, p := range []string{"goclient", "goserver", "dlv"} {
		copyFile(t, program(t, p), filepath.Join(dir, p))
	}
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, uid, uid); err != nil {
		t.Fatal(err)
	}
	loopbackUp(t)
	cmd := exec.Command(self, "-test.count=1", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), envInside+"=1", envPrograms+"="+dir, "TMPDIR="+tmp, "HOME="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, Pdeathsig: unix.SIGKILL}
	b, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "--- ") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// A process that does not let us look must not get out on this machine's network.
func TestUnreadableProcessIsRefused(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may look into every process; TestAllAsOrdinaryUser runs this")
	}
	l := newLab(t)
	l.pod.route("10.96.7.7:1", route{target: echo(t, "api")})
	got := l.python(t, `
import ctypes, errno, socket
def name(e): return errno.errorcode.get(e, str(e))
libc = ctypes.CDLL(None)
print(name(socket.socket().connect_ex(("10.96.7.7", 1))))
assert libc.prctl(4, 0, 0, 0, 0) == 0 # PR_SET_DUMPABLE
print(name(socket.socket().connect_ex(("10.96.7.7", 1))))
print(name(socket.socket(socket.AF_INET6).connect_ex(("2001:db8::1", 1))))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: print(s.sendto(b"x" * 20, ("10.96.0.10", 53)))
except OSError as e: print(name(e.errno))
l = socket.create_server(("127.0.0.1", 0)); print("listens")
`)
	if want := "0\nEHOSTUNREACH\nEHOSTUNREACH\nEHOSTUNREACH\nlistens"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTracedInterceptsTheTraceeAndItsDescendants(t *testing.T) {
	l := newLab(t)
	l.pod.route("10.96.7.7:1", route{target: echo(t, "api")})
	d := l.start(t, intercept.Traced, "/usr/bin/python3", "testdata/tracer.py")
	if err := d.wait(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"debugger": "ENETUNREACH", "debugger's child": "ENETUNREACH", "debugger's orphan": "ENETUNREACH",
		"debuggee": "0", "debuggee's child": "0", "debuggee's program": "0", "debuggee's orphan": "0",
	}
	for line := range strings.Lines(d.out.String()) {
		who, got, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if want[who] != got {
			t.Errorf("%s: connect gives %s, want %q", who, got, want[who])
		}
		delete(want, who)
	}
	if len(want) != 0 {
		t.Errorf("not heard of: %v", want)
	}
}

func TestTracedInterceptsBelowDelve(t *testing.T) {
	l := newLab(t)
	l.web(t)
	server := program(t, "goserver")
	d := l.start(t, intercept.Traced, program(t, "dlv"), "exec", "--headless", "--listen=0.0.0.0:4040", "--accept-multiclient",
		"--continue", "--check-go-version=false", server, "--", ":8080")
	if port := l.listening(t); port != 8080 {
		t.Errorf("told of port %d, want 8080: the debugger's own is none of the pod's", port)
	}
	if got, want := l.request(t, 8080, get), "203.0.113.9:4321 at 10.244.1.7:8080"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := l.Deliver(t.Context(), 4040, peer, here); err == nil {
		t.Error("the debugger's port is delivered to")
	}
	// The debuggee has a process group of its own and would outlive its debugger.
	for _, pid := range children(t, d.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = syscall.Kill(-d.Process.Pid, syscall.SIGKILL)
}

// children returns the processes that pid's threads made.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread is gone
		}
		for _, field := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, child)
		}
	}
	if len(pids) == 0 {
		t.Errorf("process %d has no children", pid)
	}
	return pids
}
