//go:build linux

package incoming

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// conversing is how many clients there are at once, and mayConverse how many the agent takes.
const conversing, mayConverse = 1000, 1100

// stalledBody is the body of a request that does not come whole, in bytes, of which stalledAfter come.
const stalledBody, stalledAfter = 20 << 10, 8 << 10

// conversingAgent is an agent for the requests with a header, alone in its process. Its link is descriptor 3.
func conversingAgent() {
	if err := serveConversing(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveConversing() error {
	conn, err := net.FileConn(os.NewFile(3, "link"))
	if err != nil {
		return err
	}
	link, err := mux.Start(context.Background(), conn, mux.AgentSide, mux.Options{})
	if err != nil {
		return err
	}
	s := New(context.Background(), func(ctx context.Context, h wire.Header, first []byte) (Stream, error) {
		return link.Begin(ctx, h, first)
	}, Options{Memory: NewMemory(6*conversing*stalledBody*5/4, mayConverse, splice.NewBuffers(agentMay/4))})
	want := wantRequests("X-User: alice")
	if len(os.Args) > 1 {
		debug.SetGCPercent(10) // nearly what is in use counts, as near the limit that an agent has
		want.TLS = in("web")
		s.opts.Files = os.DirFS(os.Args[1])
	}
	if _, err := s.Subscribe(context.Background(), want); err != nil {
		return err
	}
	fmt.Println("subscribed")
	<-link.Done()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return s.Close(ctx)
}

// startConversing starts the agent, as another build of this program if one is named, and returns its process's number. It takes TLS off if it is
// told where the certificates are.
func startConversing(t *testing.T, program string, handle func(*mux.Stream), certificates ...string) int {
	t.Helper()
	near, far := testkit.Pair(t)
	file, err := near.File()
	if err != nil {
		t.Fatal(err)
	}
	agent := testpod.Helper(t, "conversing agent", certificates...)
	if program != "" {
		agent.Path = program
	}
	agent.ExtraFiles, agent.Stderr = []*os.File{file}, os.Stderr
	said, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = file.Close(), near.Close()
	adapter, err := mux.Start(t.Context(), far, mux.AdapterSide, mux.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { _ = adapter.Serve(handle) })
	t.Cleanup(func() { _ = adapter.Close(); served.Wait(); _ = agent.Wait() })
	if _, err := said.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	return agent.Process.Pid
}

// TestThousandConversations prints what an agent takes for as many clients that are idle, and that stall amid a body. Beyond what it takes at
// once, connections are the target's, without a look at their requests.
func TestThousandConversations(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, testpod.Pod4+":80", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "target")
	})
	var offered sync.WaitGroup
	stalled := make(chan struct{}, conversing)
	release := make(chan struct{})
	giveUp := sync.OnceFunc(func() { close(release) })
	// What the race detector takes is not meant. Inside a container there may be no compiler.
	program := ""
	if _, err := exec.LookPath("go"); err == nil {
		program = lean(t)
	}
	pid := startConversing(t, program, func(st *mux.Stream) {
		offered.Add(1)
		defer offered.Done()
		_ = st.Opened(wire.Answer{})
		stalled <- struct{}{}
		<-release
		st.Reset()
	})
	t.Cleanup(giveUp)
	before, _ := resident(t, pid)
	var clients []*talker
	for range conversing {
		c := talk(t, client)
		c.ask(others, "target")
		clients = append(clients, c)
	}
	idle, _ := resident(t, pid)
	t.Logf("an agent takes %s without clients, %s with %d idle ones: %d KiB each", before, idle, conversing, (kib(t, idle)-kib(t, before))/conversing)
	text := post("/stalled", "X-User: alice\r\n", stalledBody)
	for i, c := range clients {
		c.send(text[:len(text)-stalledBody+stalledAfter])
		select {
		case <-stalled:
		case <-time.After(10 * time.Second):
			t.Fatalf("request %d is not offered", i)
		}
	}
	busy, most := resident(t, pid)
	if program != "" && kib(t, most) > 64<<10 {
		t.Errorf("an agent takes %s for %d clients, 64 MiB are allowed", most, conversing)
	}
	t.Logf("%s, at most %s, with %d that stall amid a body: %d KiB each", busy, most, conversing, (kib(t, busy)-kib(t, before))/conversing)
	// The next ones are the target's as a whole when there are too many.
	for range mayConverse - conversing {
		talk(t, client).ask(others, "target")
	}
	beyond := talk(t, client)
	beyond.ask(mine, "target")
	giveUp()
	for _, c := range clients {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	offered.Wait()
}

func kib(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.Fields(text)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestUnfinishedRequestsReserveWhatTheyMayNeed : many clients send a short body after the head.
func TestUnfinishedRequestsReserveWhatTheyMayNeed(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, testpod.Pod4+":80", nil)
	f := startFarEnd(t, Options{Memory: NewMemory(6*wire.MaxFirst, 100, nil)})
	f.on(answerRequest)
	f.stealRequests(t, "X-User: alice")
	var clients []*talker
	const n = 20
	for range n {
		c := talk(t, client)
		c.send("POST /short HTTP/1.1\r\nHost: shop\r\nX-User: alice\r\nContent-Length: 1000\r\n\r\n")
		clients = append(clients, c)
	}
	testkit.Eventually(t, "all are offered", func() bool { return len(f.seen()) == n })
	for _, c := range clients {
		c.ask(strings.Repeat("x", 1000), "debuggee: POST /short")
	}
}

// TestPassedConnectionsShowPortsThatClientsDoNotChoose : with the port of one that is diverted, the kernel would have two sockets for it.
func TestPassedConnectionsShowPortsThatClientsDoNotChoose(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", func(w http.ResponseWriter, r *http.Request) {
		_, port, _ := net.SplitHostPort(r.RemoteAddr)
		_, _ = io.WriteString(w, port)
	})
	f := startFarEnd(t, Options{})
	f.on(refuse)
	f.stealRequests(t, "X-User: alice")
	for _, addr := range []string{testpod.Pod4 + ":80", "[" + testpod.Pod6 + "]:80"} {
		for range 20 {
			c := dial(t, client, addr)
			_, _ = io.WriteString(c, others)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(res.Body)
			if port, _ := strconv.Atoi(string(text)); port < 1024 || port > 32767 {
				t.Errorf("%s: the target sees port %q", addr, text)
			}
			_ = c.Close()
		}
	}
}
