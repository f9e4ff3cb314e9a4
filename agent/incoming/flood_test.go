//go:build linux

package incoming

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// The pod of the flood: a limit on its memory, and what its target keeps of it. An agent's buffers may take an eighth of
// the limit there (package memory).
const (
	podLimit    = 64 << 20
	targetKeeps = 20 << 20
	agentMay    = podLimit / 8
)

// floodedAgent is an agent with all its buffers, without anything else. Its link is descriptor 3.
func floodedAgent() {
	debug.SetMemoryLimit(agentMay + 16<<20)
	runtime.GOMAXPROCS(1)
	if err := serveFlooded(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveFlooded() error {
	conn, err := net.FileConn(os.NewFile(3, "link"))
	if err != nil {
		return err
	}
	const part, streams = agentMay / 16, agentMay / (32 << 10)
	link, err := mux.Start(context.Background(), conn, mux.AgentSide, mux.Options{Shared: mux.NewBudget(8*part, streams), Streams: streams})
	if err != nil {
		return err
	}
	s := New(context.Background(), func(ctx context.Context, h wire.Header, first []byte) (Stream, error) {
		return link.Begin(ctx, h, first)
	}, Options{Memory: NewMemory(6*part, streams/4, splice.NewBuffers(2*part))})
	for _, port := range []uint16{80, 81} {
		if _, err := s.Subscribe(context.Background(), wire.SubscribeParams{Port: port, Mode: wire.ModeSteal}); err != nil {
			return err
		}
	}
	fmt.Println("subscribed")
	<-link.Done()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.Close(ctx)
}

// floodedTarget keeps memory in use and answers each client after its end.
func floodedTarget() {
	kept := make([]byte, targetKeeps)
	for i := range kept {
		kept[i] = byte(i)
	}
	for _, port := range []string{"80", "81", "82"} {
		l, err := net.Listen("tcp", testpod.Pod4+":"+port)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(io.Discard, c)
					_, _ = io.WriteString(c, "served")
					_ = c.Close()
				}()
			}
		}()
	}
	fmt.Println("listening")
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(kept)
}

// limited is a memory cgroup of the test's.
type limited struct{ dir string }

// limitMemory makes a cgroup of version 1 below this process's own; it goes with the test.
func limitMemory(t *testing.T, limit int) limited {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(own)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || parts[1] != "memory" {
			continue
		}
		c := limited{filepath.Join("/sys/fs/cgroup/memory", parts[2], "podstep-flood-"+strconv.Itoa(os.Getpid()))}
		if err := os.Mkdir(c.dir, 0o755); err != nil {
			t.Skip("needs root and a memory cgroup: ", err)
		}
		t.Cleanup(func() { testkit.Eventually(t, "cgroup is empty", func() bool { return os.Remove(c.dir) == nil }) })
		for _, name := range []string{"memory.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes"} {
			// The second switches on that socket buffers are counted.
			if err := os.WriteFile(filepath.Join(c.dir, name), []byte(strconv.Itoa(limit)), 0); err != nil {
				t.Skip("needs root and a memory cgroup: ", err)
			}
		}
		return c
	}
	t.Skip("needs root and a memory cgroup of version 1")
	return limited{}
}

// lean builds this test program without the race detector, whose own memory is more than a small pod has.
func lean(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lean")
	cmd := exec.Command("go", "test", "-c", "-race=false", "-o", path, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return path
}

// start starts a helper that program plays in the cgroup, and waits for its first line.
func (c limited) start(t *testing.T, program string, cmd *exec.Cmd, oom int) {
	t.Helper()
	shell := fmt.Sprintf("echo 0 > %s/cgroup.procs && echo %d > /proc/self/oom_score_adj && exec %s", c.dir, oom, program)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", shell}
	cmd.Stderr = os.Stderr
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
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := stdout.Read(make([]byte, 64)); err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
}

// number reads a file of the cgroup.
func (c limited) number(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// resident is a process's memory in bytes, its program's pages included.
func resident(t *testing.T, pid int) (now, most string) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatalf("process ended: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == "VmRSS" {
			now = strings.TrimSpace(value)
		} else if name == "VmHWM" {
			most = strings.TrimSpace(value)
		}
	}
	return now, most
}

// TestFloodOfAStalledPortHurtsNeitherTargetNorAgent floods a port whose debuggee reads nothing and one that is passed through, in a
// pod with little memory.
func TestFloodOfAStalledPortHurtsNeitherTargetNorAgent(t *testing.T) {
	if testpod.Ordinary() {
		t.Skip("needs root and a memory cgroup")
	}
	const clients, body = 500, 1 << 20
	pod, program := limitMemory(t, podLimit), lean(t)
	client := testpod.NewClient(t)
	target := testpod.Helper(t, "flooded target")
	pod.start(t, program, target, 0)
	near, far := testkit.Pair(t)
	file, err := near.File()
	if err != nil {
		t.Fatal(err)
	}
	agent := testpod.Helper(t, "flooded agent")
	agent.ExtraFiles = []*os.File{file}
	var adapter *mux.Session
	started := make(chan error)
	go func() {
		var err error
		adapter, err = mux.Start(t.Context(), far, mux.AdapterSide, mux.Options{})
		started <- err
	}()
	pod.start(t, program, agent, 1000)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	var served sync.WaitGroup
	stall := make(chan struct{})
	var stolen atomic.Int64
	served.Go(func() {
		_ = adapter.Serve(func(st *mux.Stream) {
			if st.Header.Port == 81 {
				refuse(st)
				return
			}
			stolen.Add(1)
			_ = st.Opened(wire.Answer{})
			<-stall
			_, _ = io.Copy(io.Discard, st)
			_, _ = io.WriteString(st, "stolen")
			_ = st.CloseWrite()
			_ = st.Close()
		})
	})
	defer func() { _ = adapter.Close(); served.Wait() }()

	answers := map[string]int{}
	var mu sync.Mutex
	var sent atomic.Int64
	var flood sync.WaitGroup
	dialling := make(chan struct{}, 32)
	request := make([]byte, body)
	for i := range 2 * clients {
		flood.Go(func() {
			dialling <- struct{}{}
			c, err := client.Dial(testpod.Pod4 + ":" + strconv.Itoa(80+i%2))
			<-dialling
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(3 * time.Minute))
			for rest := request; len(rest) > 0 && err == nil; {
				n := 0
				n, err = c.Write(rest[:min(len(rest), 16<<10)])
				rest = rest[n:]
				sent.Add(int64(n))
			}
			_ = c.CloseWrite()
			answer, rerr := io.ReadAll(c)
			if err != nil || rerr != nil {
				t.Errorf("client of port %d: %v, %v", 80+i%2, err, rerr)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[string(answer)]++
		})
	}
	// All that can go on has ended when only those of the debuggee are left.
	testkit.Eventually(t, "the others are served", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return stolen.Load() > 0 && answers["served"]+int(stolen.Load()) == 2*clients
	})
	now, most := resident(t, agent.Process.Pid)
	t.Logf("agent: %s, at most %s; sockets of the pod at most %d KiB, everything else of it at most %d KiB of %d; %d stolen",
		now, most, pod.number(t, "memory.kmem.tcp.max_usage_in_bytes")>>10, pod.number(t, "memory.max_usage_in_bytes")>>10, podLimit>>10, stolen.Load())
	if now, most := resident(t, target.Process.Pid); now == "" || most == "" {
		t.Error("the target has no memory")
	}
	if n := pod.number(t, "memory.kmem.tcp.max_usage_in_bytes") + pod.number(t, "memory.max_usage_in_bytes"); n > podLimit {
		t.Errorf("the pod used %d KiB with its sockets, which is more than it has", n>>10)
	}
	if n := stolen.Load(); n > 2*agentMay/(32<<10)/4 {
		t.Errorf("%d connections were stolen at once", n)
	}
	close(stall)
	flood.Wait()
	if answers["served"]+answers["stolen"] != 2*clients {
		t.Errorf("answers of %d clients: %v", 2*clients, answers)
	}
	_ = near.Close()
}
