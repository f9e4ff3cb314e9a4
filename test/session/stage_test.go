//go:build linux

package session

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/dapclient"
	"podstep.dev/internal/testkit/pod"
)

// stage is a pod with a shop and a client that asks it all the time.
type stage struct {
	t       *testing.T
	ctx     context.Context // bounds every wait of the test
	pod     *pod.Pod
	client  *client
	runtime string // XDG_RUNTIME_DIR of the sessions
	mark    string // in the environment of everything that a session starts on the workstation
}

func newStage(t *testing.T) *stage {
	t.Helper()
	p, err := pod.Start(pod.Options{
		Command:   []string{filepath.Join(kit, "shop")},
		Env:       []string{"ANSWERED_BY=target", "SHOP_COLOUR=orange"},
		Hostname:  "shop-7d9f",
		Addresses: []netip.Addr{netip.MustParseAddr(podAddress), netip.MustParseAddr(clientAddress), netip.MustParseAddr("fd00:42::7")},
		Names:     map[string]netip.Addr{"stock": netip.MustParseAddr(podAddress)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := p.Exec(pod.Command{Args: []string{filepath.Join(kit, "stock")}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*testkit.Patience)
	t.Cleanup(cancel)
	s := &stage{t: t, ctx: ctx, pod: p, runtime: t.TempDir(), mark: fmt.Sprintf("PODSTEP_TEST_MARK=%d-%d", os.Getpid(), time.Now().UnixNano())}
	s.client = startClient(t, p)
	s.await("the target answers", time.Time{}, by("target"))
	return s
}

// await waits for a request of the client that began after since.
func (s *stage) await(what string, since time.Time, want func(request) bool) (r request) {
	s.t.Helper()
	testkit.Eventually(s.t, what, func() (ok bool) {
		r, ok = s.client.first(since, want)
		return ok
	})
	return r
}

// command is podstep with the session's environment.
func (s *stage) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, filepath.Join(kit, "podstep"), args...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+s.runtime, s.mark)
	return cmd
}

// target is the stage's in a launch configuration.
func (s *stage) target() string { return "process/" + strconv.Itoa(s.pod.PID()) }

// steal is the mirror block of most tests: port 80 of the target to port 8080 of the debuggee.
func (s *stage) steal() map[string]any {
	return map[string]any{"target": s.target(), "incoming": map[string]any{"mode": "steal", "ports": map[string]int{"80": 8080}}}
}

// session is a running `podstep dap` with an editor.
type session struct {
	*dapclient.Client
	cmd    *exec.Cmd
	stdin  io.Closer
	exited chan struct{}
	log    testkit.Output
}

type pipes struct {
	io.Reader
	io.WriteCloser
}

// start starts podstep dap and says hello.
func (s *stage) start(adapterID string) *session {
	s.t.Helper()
	d := &session{cmd: s.command("dap", "--log-level", "debug"), exited: make(chan struct{})}
	stdin, err := d.cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	// Not StdoutPipe: Wait would close it under the reader.
	stdout, theirs, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	d.cmd.Stdout, d.cmd.Stderr, d.stdin = theirs, &d.log, stdin
	if err := d.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	_ = theirs.Close()
	d.Client = dapclient.New(pipes{stdout, stdin})
	go func() {
		defer close(d.exited)
		_ = d.cmd.Wait()
	}()
	s.t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.exited
		_ = stdout.Close()
		_ = d.Close()
		if s.t.Failed() {
			s.t.Logf("podstep's log:\n%s", d.log.String())
		}
	})
	if _, err := d.Initialize(s.ctx, adapterID); err != nil {
		s.t.Fatal(err)
	}
	return d
}

// descendant returns the topmost process of that name (comm) below podstep: a debugger's own forks have its name until
// they exec.
func (s *stage) descendant(d *session, name string) int {
	s.t.Helper()
	found := 0
	testkit.Eventually(s.t, "a process "+name, func() bool {
		for pid := range processes() {
			if comm(pid) == name && comm(parent(pid)) != name && below(pid, d.cmd.Process.Pid) {
				found = pid
			}
		}
		return found != 0
	})
	return found
}

// cleared fails the test when a process, a rule or a file of the session is left within a second of patience.
func (s *stage) cleared() {
	s.t.Helper()
	testkit.Eventually(s.t, "no process of the session is left: "+s.leftover(), func() bool { return s.leftover() == "" })
	if tables := s.tables(); tables != "" {
		s.t.Errorf("rules left in the pod: %s", tables)
	}
	testkit.Eventually(s.t, "no file of the session is left", func() bool {
		left, _ := filepath.Glob(filepath.Join(s.runtime, "podstep", "*"))
		return len(left) == 0
	})
}

// leftover names the processes that carry the mark, and agents of the pod.
func (s *stage) leftover() string {
	var left []string
	for pid := range processes() {
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		agent := comm(pid) == "podstep-agent" && bytes.Contains(cmdline, []byte("\x00"+strconv.Itoa(s.pod.PID())+"\x00"))
		if bytes.Contains(environ, []byte(s.mark)) || agent {
			left = append(left, fmt.Sprintf("%d %s", pid, bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	return strings.Join(left, "; ")
}

// tables lists the nftables tables in the pod.
func (s *stage) tables() string {
	s.t.Helper()
	var out bytes.Buffer
	proc, err := s.pod.Exec(pod.Command{Args: []string{filepath.Join(kit, "self")}, Env: []string{roleVar + "=tables"}, Stdout: &out, Stderr: &out})
	if err != nil {
		s.t.Fatal(err)
	}
	if status := proc.Wait(); status.ExitStatus() != 0 {
		s.t.Fatalf("list tables: %s", out.String())
	}
	return strings.TrimSpace(out.String())
}

// printTables is the role "tables".
func printTables() {
	conn, err := nftables.New()
	if err == nil {
		var tables []*nftables.Table
		tables, err = conn.ListTables()
		for _, table := range tables {
			fmt.Println(table.Name)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func processes() map[int]bool {
	pids := map[int]bool{}
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil {
			pids[pid] = true
		}
	}
	return pids
}

func comm(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
}

func below(pid, ancestor int) bool {
	for ; pid > 1; pid = parent(pid) {
		if pid == ancestor {
			return true
		}
	}
	return false
}

// parent returns the parent's process id, 0 when pid is gone.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// pid (comm) state ppid: comm may hold anything but ends with the last parenthesis (proc_pid_stat(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return ppid
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}
