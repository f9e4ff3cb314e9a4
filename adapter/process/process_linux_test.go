package process_test

import (
	"context"
	"errors"
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

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"podstep.dev/adapter/config"
	"podstep.dev/adapter/process"
	"podstep.dev/internal/control"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/pod"
	"podstep.dev/internal/wire"
)

func TestMain(m *testing.M) {
	pod.Main()
	remove, err := buildAgent()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		remove()
		os.Exit(status)
	}))
}

// builtAgent names the real agent, for the processes too that this program starts of itself: an ordinary user has no
// build cache.
const builtAgent = "PODSTEP_TEST_AGENT"

// buildAgent builds the real agent, unless that is done.
func buildAgent() (remove func(), err error) {
	if os.Getenv(builtAgent) != "" {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "podstep-test-")
	if err != nil {
		return nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	path := filepath.Join(dir, "podstep-agent")
	build := exec.Command("go", "build", "-o", path, "podstep.dev/agent/cmd/podstep-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		remove()
		return nil, fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	return remove, errors.Join(os.Chmod(dir, 0o755), os.Setenv(builtAgent, path))
}

// openDir is a temporary directory that other users may read.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "podstep-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// script stands for an agent that misbehaves.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(openDir(t), "podstep-agent")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func startPod(t *testing.T, userNamespace bool) *pod.Pod {
	t.Helper()
	p, err := pod.Start(pod.Options{
		Command: []string{"sleep", "1000"}, Env: []string{"STAGE=pod"}, Hostname: "shop-0",
		Addresses: []netip.Addr{netip.MustParseAddr("10.42.0.7")}, UserNamespace: userNamespace, Output: t.Output(),
	})
	if errors.Is(err, pod.ErrNotAllowed) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// attach starts an agent of p beside the process pid, as a session does.
func attach(ctx context.Context, t *testing.T, p process.Provider, pid int, say func(string)) (io.ReadWriteCloser, error) {
	t.Helper()
	m := config.Default()
	m.Target = fmt.Sprintf("process/%d", pid)
	target, err := p.Find(ctx, m, say)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := target.Close(); err != nil {
			t.Error(err)
		}
	})
	places := <-target.Places(t.Context())
	if len(places) != 1 || places[0].Lasting() || places[0].String() != m.Target {
		t.Fatalf("places %v, want the process, which does not last", places)
	}
	return places[0].Attach(ctx)
}

func quiet(string) {}

func TestAttachReachesTheTarget(t *testing.T) {
	path := os.Getenv(builtAgent)
	for _, userNamespace := range []bool{false, true} {
		t.Run("userNamespace="+strconv.FormatBool(userNamespace), func(t *testing.T) {
			p := startPod(t, userNamespace)
			var said []string
			conn, err := attach(t.Context(), t, process.Provider{Agent: path}, p.PID(), func(s string) { said = append(said, s) })
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			link, err := mux.Start(t.Context(), conn, mux.AdapterSide, mux.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer link.Close()
			stream, err := link.Open(t.Context(), wire.Header{Kind: wire.KindControl}, nil)
			if err != nil {
				t.Fatal(err)
			}
			client := control.NewClient(t.Context(), stream, nil, nil)
			got, err := client.Describe(t.Context(), wire.DescribeParams{Environment: true})
			if err != nil {
				t.Fatal(err)
			}
			want := wire.Description{
				Hostname: "shop-0", Environment: []string{"STAGE=pod"},
				Addresses:  []netip.Addr{netip.MustParseAddr("10.42.0.7"), netip.MustParseAddr("10.42.0.53")},
				ResolvConf: "nameserver 10.42.0.53\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
			if want := fmt.Sprintf("starting the agent beside process %d (sleep)", p.PID()); len(said) != 1 || said[0] != want {
				t.Errorf("said %q, want %q", said, want)
			}
		})
	}
}

func TestCloseEndsTheAgent(t *testing.T) {
	p := startPod(t, false)
	for name, tc := range map[string]struct {
		agent  string
		bound  time.Duration
		errors bool
	}{
		"at the end of the link": {os.Getenv(builtAgent), 1500 * time.Millisecond, false},
		"that does not listen":   {script(t, "trap '' TERM HUP; printf x; while :; do sleep 0.1; done"), 10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			core, lines := observer.New(zap.DebugLevel)
			conn, err := attach(t.Context(), t, process.Provider{Agent: tc.agent, Log: zap.New(core)}, p.PID(), quiet)
			if err != nil {
				t.Fatal(err)
			}
			started := lines.FilterMessage("agent started").All()
			if len(started) != 1 {
				t.Fatalf("logged %v", lines.All())
			}
			pid := int(started[0].ContextMap()["pid"].(int64))
			begin := time.Now()
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(begin); took > tc.bound {
				t.Errorf("Close took %v", took)
			}
			if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
				t.Errorf("the agent is there still: %v", err)
			}
			if err := conn.Close(); err != nil {
				t.Errorf("closing again: %v", err)
			}
		})
	}
}

func TestAttachRefusesWhatIsNoTarget(t *testing.T) {
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = zombie.Wait() })
	testkit.Eventually(t, "the child is a zombie", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", zombie.Process.Pid))
		return err == nil && strings.Contains(string(stat), ") Z ")
	})
	for name, tc := range map[string]struct {
		pid  int
		id   fault.ID
		what string
	}{
		"no process":           {1 << 22, fault.NoTarget, "process 4194304 does not exist"},
		"a thread":             {otherThread(t), fault.NoTarget, "is a thread"},
		"a process that ended": {zombie.Process.Pid, fault.NoTarget, "(true) has ended"},
		"this very process":    {os.Getpid(), fault.TargetShared, "uses this machine's network"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := attach(t.Context(), t, process.Provider{Agent: "/bin/false"}, tc.pid, quiet)
			wantFault(t, err, tc.id, tc.what)
		})
	}
}

// otherThread is the number of a thread of this process that is not its first.
func otherThread(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if tid, err := strconv.Atoi(task.Name()); err == nil && tid != os.Getpid() {
			return tid
		}
	}
	t.Fatal("a Go program with one thread")
	return 0
}

func wantFault(t *testing.T, err error, id fault.ID, text string) {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a fault", err)
	}
	if f.ID != id || !strings.Contains(f.Error(), text) {
		t.Errorf("got %q, want %d with %q", f, id, text)
	}
}

func TestAttachRefusesAForeignProcess(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may enter every process; TestOrdinaryUser runs this")
	}
	_, err := attach(t.Context(), t, process.Provider{Agent: "/bin/false"}, 1, quiet)
	wantFault(t, err, fault.TargetForbidden, fmt.Sprintf("belongs to uid 0, and podstep runs as uid %d", os.Geteuid()))
	if foreign, err := strconv.Atoi(os.Getenv("PODSTEP_TEST_FOREIGN")); err == nil {
		_, err = attach(t.Context(), t, process.Provider{Agent: "/bin/false"}, foreign, quiet)
		wantFault(t, err, fault.TargetForbidden, "the kernel does not let podstep")
	}
}

func TestAttachTellsThatTheAgentIsMissing(t *testing.T) {
	p := startPod(t, false)
	t.Setenv("PATH", t.TempDir())
	_, err := attach(t.Context(), t, process.Provider{}, p.PID(), quiet)
	wantFault(t, err, fault.AgentMissing, "podstep-agent")
}

func TestAttachShowsTheLastWordsOfAnAgentThatDies(t *testing.T) {
	p := startPod(t, false)
	for name, tc := range map[string]struct{ agent, what string }{
		"with words":    {script(t, "echo 'no luck today' >&2; exit 3"), "the agent ended before it greeted (exit status 3) [podstep-3002]\nThe agent said: no luck today"},
		"without words": {script(t, "kill -9 $$"), "the agent ended before it greeted (signal: killed)"},
		"with many":     {script(t, "head -c 300000 /dev/zero | tr '\\0' x >&2; echo >&2; echo end >&2; exit 1"), "xxx\nend"},
		"no program":    {"/etc/passwd", "cannot run /etc/passwd"},
		"no file":       {"/no/such/agent", "cannot run /no/such/agent"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := attach(t.Context(), t, process.Provider{Agent: tc.agent}, p.PID(), quiet)
			wantFault(t, err, fault.AgentStart, tc.what)
			if len(err.Error()) > 4<<10 {
				t.Errorf("a fault of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestAttachGivesUpWithItsContext(t *testing.T) {
	p := startPod(t, false)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("the editor went"))
	defer cancel()
	_, err := attach(ctx, t, process.Provider{Agent: script(t, "cat >/dev/null")}, p.PID(), quiet)
	wantFault(t, err, fault.AgentStart, "the editor went")
}

func TestTheAgentsWordsAreLoggedAtTheirLevel(t *testing.T) {
	p := startPod(t, false)
	core, lines := observer.New(zap.DebugLevel)
	path := script(t, `printf '10:00:00.000\tDEBUG\tincoming\tsmall\n10:00:00.000\tERROR\tlarge\nplain\n' >&2; printf x; cat >/dev/null`)
	conn, err := attach(t.Context(), t, process.Provider{Agent: path, Log: zap.New(core)}, p.PID(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	var got []string
	for _, e := range lines.Filter(func(e observer.LoggedEntry) bool { return e.LoggerName == "process.agent" }).All() {
		_, text, _ := strings.Cut(e.Message, "\t")
		got = append(got, e.Level.String()+" "+text)
	}
	want := []string{"debug DEBUG\tincoming\tsmall", "error ERROR\tlarge", "warn "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestKilledAdapterLeavesNoAgent(t *testing.T) {
	if pid, err := strconv.Atoi(os.Getenv("PODSTEP_TEST_TARGET")); err == nil {
		log := zap.NewExample()
		if _, err := attach(t.Context(), t, process.Provider{Agent: os.Getenv(builtAgent), Log: log}, pid, quiet); err != nil {
			t.Fatal(err)
		}
		select {} // until it is killed
	}
	path := os.Getenv(builtAgent)
	p := startPod(t, true)
	adapter := exec.Command("/proc/self/exe", "-test.run=^TestKilledAdapterLeavesNoAgent$")
	adapter.Env = append(os.Environ(), fmt.Sprintf("PODSTEP_TEST_TARGET=%d", p.PID()))
	adapter.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := adapter.Start(); err != nil {
		t.Fatal(err)
	}
	var agents []int
	testkit.Eventually(t, "the agent runs", func() bool {
		agents = running(t, path)
		return len(agents) == 1
	})
	if err := adapter.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = adapter.Wait()
	testkit.Eventually(t, "the agent is gone", func() bool { return len(running(t, path)) == 0 })
}

// running lists the processes whose program is path.
func running(t *testing.T, path string) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		exe, err := os.Readlink("/proc/" + e.Name() + "/exe")
		if pid, perr := strconv.Atoi(e.Name()); err == nil && perr == nil && exe == path {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this is an ordinary user already")
	}
	// The user's own process, in a network namespace that root made.
	foreign := exec.Command("sleep", "1000")
	foreign.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: 12345, Gid: 12345},
	}
	if err := foreign.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = foreign.Process.Kill(), foreign.Wait() }()
	t.Setenv("PODSTEP_TEST_FOREIGN", strconv.Itoa(foreign.Process.Pid))
	testkit.AsOrdinaryUser(t, "^Test(Attach|Close|Killed)")
}
