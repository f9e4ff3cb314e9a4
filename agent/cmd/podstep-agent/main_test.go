//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/control"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

func TestMain(m *testing.M) { testpod.Main(m, map[string]func(){"agent": main, "shop": simpleShop}) }

// agentProcess is a running podstep-agent with this test as its adapter.
type agentProcess struct {
	*exec.Cmd
	link   *mux.Session
	client *control.Client
	log    *strings.Builder
	waited chan struct{}
	err    error

	mu     sync.Mutex
	handle func(*mux.Stream)
	ended  []wire.EndedParams
	unread []wire.UnreadParams
	asked  []wire.AskedParams
}

// Ended and its like make agentProcess a control.Adapter.
func (a *agentProcess) Ended(p wire.EndedParams) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = append(a.ended, p)
}

func (a *agentProcess) Lost(wire.LostParams) {}

func (a *agentProcess) Unread(p wire.UnreadParams) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unread = append(a.unread, p)
}

func (a *agentProcess) Closed(wire.ClosedParams) {}

type pipes struct {
	io.ReadCloser
	in io.WriteCloser
}

func (p pipes) Write(b []byte) (int, error) { return p.in.Write(b) }
func (p pipes) Close() error                { _ = p.in.Close(); return p.ReadCloser.Close() }

// startAgent runs the agent for the process pid; it ends with the test.
func startAgent(t *testing.T, pid int, holder string) *agentProcess {
	t.Helper()
	return startLink(t, wire.Hello{Program: "test", Holder: holder, Session: "s"}, testpod.Helper(t, "agent", "serve", "--pid", fmt.Sprint(pid), "--log", "debug"))
}

// startLink runs a program whose standard input and output are a link to an agent; it ends with the test.
func startLink(t *testing.T, hello wire.Hello, cmd *exec.Cmd) *agentProcess {
	t.Helper()
	a := &agentProcess{Cmd: cmd, log: &strings.Builder{}, waited: make(chan struct{})}
	a.Stderr = a.log
	stdin, err := a.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	// Not StdoutPipe: Wait would close it under the link's reader.
	stdout, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	a.Stdout = theirs
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	go func() {
		defer close(a.waited)
		a.err = a.Wait()
	}()
	a.link, err = mux.Start(t.Context(), pipes{stdout, stdin}, mux.AdapterSide, mux.Options{Hello: hello})
	if err != nil {
		<-a.waited
		t.Fatalf("%v: %s", err, a.log)
	}
	a.handle = debuggee
	var served sync.WaitGroup
	served.Go(func() {
		_ = a.link.Serve(func(st *mux.Stream) {
			a.mu.Lock()
			handle := a.handle
			a.mu.Unlock()
			handle(st)
		})
	})
	stream, err := a.link.Open(t.Context(), wire.Header{Kind: wire.KindControl}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a.client = control.NewClient(t.Context(), stream, a, nil)
	t.Cleanup(func() {
		_ = a.Process.Signal(syscall.SIGCONT)
		_ = a.link.Close()
		served.Wait()
		<-a.waited
		if t.Failed() {
			t.Logf("agent of %s:\n%s", hello.Holder, a.log)
		}
	})
	return a
}

func (a *agentProcess) on(handle func(*mux.Stream)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handle = handle
}

func (a *agentProcess) steal(t *testing.T, port uint16) wire.Subscription {
	t.Helper()
	sub, err := a.client.Subscribe(t.Context(), wire.SubscribeParams{Port: port, Mode: wire.ModeSteal})
	if err != nil {
		t.Fatalf("steal %d: %v", port, err)
	}
	return sub
}

// debuggee plays one that answers a request and closes.
func debuggee(st *mux.Stream) {
	if st.Opened(wire.Answer{}) != nil {
		return
	}
	_, _ = st.Read(make([]byte, 4096))
	_, _ = io.WriteString(st, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\ndebuggee")
	_ = st.CloseWrite()
	_, _ = io.Copy(io.Discard, st)
	_ = st.Close()
}

func refuse(st *mux.Stream) { _ = st.Refuse(&wire.Refusal{Errno: syscall.ECONNREFUSED}) }

// runProgram runs a program in the pod until the test ends, and waits until it listens on addr.
func runProgram(t *testing.T, addr string, stderr io.Writer, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = os.Environ()
	cmd.Stderr = stderr
	return serveIn(t, addr, cmd)
}

// serveIn does the same with a command.
func serveIn(t *testing.T, addr string, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	cmd.Env = append(cmd.Env, "PODSTEP_TEST_VALUE=from the pod")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-waited
	})
	testpod.Eventually(t, cmd.Path+" listens", func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
	return cmd
}

// python is the target of most tests; its access log goes to stderr.
func python(t *testing.T, stderr io.Writer) *exec.Cmd {
	return runProgram(t, testpod.Pod4+":80", stderr, "python3", "-u", "-m", "http.server", "80", "--bind", "::", "--directory", t.TempDir())
}

// whoServes makes one request and tells who answered: "debuggee", "target" or the error.
func whoServes(client *testpod.Client, addr string, timeout time.Duration) string {
	c, err := client.Dial(addr)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return err.Error()
	}
	text, err := io.ReadAll(c)
	switch {
	case err != nil:
		return err.Error()
	case strings.HasSuffix(string(text), "debuggee"):
		return "debuggee"
	case strings.Contains(string(text), "SimpleHTTP"):
		return "target"
	}
	return fmt.Sprintf("%d bytes of neither", len(text))
}

func tables(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "tables").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	return string(out)
}
