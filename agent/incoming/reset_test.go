//go:build linux

package incoming

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"podstep.dev/agent/incoming/redirect"
	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// keptServer is a target that keeps connections and answers slowly what asks for it.
const keptServer = `
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow": time.sleep(0.7)
        if self.path == "/stuck": time.sleep(30)
        body = ("target: %s from %s" % (self.path, self.client_address[0])).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 80), Handler).serve_forever()
`

// keptClient asks on one connection for each line that it reads, and connects again when that is gone.
const keptClient = `
import http.client, sys
c = http.client.HTTPConnection("10.9.0.2", 80, timeout=20)
def ask(user):
    c.request("GET", "/kept", headers={"X-User": user})
    return c.getresponse().read().decode()
for line in sys.stdin:
    again = ""
    try:
        answer = ask(line.strip())
    except (ConnectionError, http.client.RemoteDisconnected):
        c.close()
        again = "again "
        answer = ask(line.strip())
    print(again + answer, flush=True)
`

// python is a client that keeps its connection.
type python struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

func startPython(t *testing.T, client *testpod.Client) *python {
	t.Helper()
	cmd := client.Command(need(t, "python3"), "-u", "-c", keptClient)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	return &python{t, in, bufio.NewScanner(out)}
}

func (p *python) ask(user, want string) {
	p.t.Helper()
	_, _ = fmt.Fprintln(p.in, user)
	if !p.out.Scan() || !strings.HasPrefix(p.out.Text(), want) {
		p.t.Errorf("python is answered %q, want %q", p.out.Text(), want)
	}
}

// goClient keeps its connections as Go's clients do.
func goClient(client *testpod.Client) *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
		return client.Dial(addr)
	}}}
}

func goAsks(t *testing.T, c *http.Client, path, user, want string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+testpod.Pod4+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-User", user)
	answer, err := c.Do(request)
	if err != nil {
		t.Errorf("go is answered by %v, want %q", err, want)
		return
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || !strings.HasPrefix(string(body), want) {
		t.Errorf("go is answered %q, %v; want %q", body, err, want)
	}
}

// resetting wants alice's requests, and those of connections that are there.
func resetting() wire.SubscribeParams {
	p := wantRequests("X-User: alice")
	p.Existing = wire.ExistingReset
	return p
}

// TestResetMovesClientsThatKeepTheirConnections : to whoever their requests are for.
func TestResetMovesClientsThatKeepTheirConnections(t *testing.T) {
	client := testpod.NewClient(t)
	runServer(t, need(t, "python3"), "-c", keptServer)
	py, http := startPython(t, client), goClient(client)
	defer http.CloseIdleConnections()
	py.ask("alice", "target: /kept from "+testpod.Client4)
	goAsks(t, http, "/kept", "alice", "target: ")
	slow, idle := make(chan struct{}), goClient(client) // it is in the midst of a request, and is answered
	defer idle.CloseIdleConnections()
	go func() { defer close(slow); goAsks(t, idle, "/slow", "alice", "target: /slow") }()
	testkit.Eventually(t, "three connections are there", func() bool {
		n, err := Existing(80)
		return err == nil && n == 3
	})

	f := startFarEnd(t, Options{})
	f.on(answerRequest)
	p := resetting()
	f.subscribe(t, p)
	n, err := f.ResetExisting(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	<-slow
	if n != 3 {
		t.Errorf("%d were reset, want 3", n)
	}
	if left, err := Existing(80); left != 0 || err != nil {
		t.Errorf("%d are left, %v", left, err)
	}
	py.ask("alice", "again debuggee: ")
	py.ask("bob", "target: /kept from "+testpod.Client4)
	py.ask("alice", "debuggee: ")
	goAsks(t, http, "/kept", "alice", "debuggee: ")
	goAsks(t, http, "/kept", "bob", "target: ")

	// A second session's leave those alone that the first one's requests are told apart on, at the target, too.
	g := startFarEnd(t, Options{Ports: f.opts.Ports})
	g.on(answerRequest)
	q := wantRequests("X-User: carol")
	q.Existing = wire.ExistingReset
	g.subscribe(t, q)
	if n, err := g.ResetExisting(t.Context(), q); n != 0 || err != nil {
		t.Errorf("the second session reset %d, %v", n, err)
	}
	py.ask("carol", "debuggee: ")
}

// TestResetTakesStuckRequestsWhenItsPatienceIsOver : and leaves listeners alone.
func TestResetTakesStuckRequestsWhenItsPatienceIsOver(t *testing.T) {
	client := testpod.NewClient(t)
	runServer(t, need(t, "python3"), "-c", keptServer)
	c := talk(t, client)
	c.send("GET /stuck HTTP/1.1\r\nHost: shop\r\n\r\n")
	testkit.Eventually(t, "it is there", func() bool { n, _ := Existing(80); return n == 1 })
	f := startFarEnd(t, Options{})
	f.on(answerRequest)
	p := resetting()
	f.subscribe(t, p)
	began := time.Now()
	if n, err := f.ResetExisting(t.Context(), p); n != 1 || err != nil {
		t.Errorf("%d were reset, %v", n, err)
	}
	if took := time.Since(began); took < idlePatience || took > 2*idlePatience {
		t.Errorf("it took %v", took)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("the client reads %v, want a reset", err)
	}
	c = talk(t, client)
	c.ask(others, "target: /others from "+testpod.Client4)
	c.ask(mine, "debuggee: ")
}

// TestResetTakesWhatIsPassedForSessionsThatAreOver : the agent outlives sessions, and so do connections of their clients.
func TestResetTakesWhatIsPassedForSessionsThatAreOver(t *testing.T) {
	client := testpod.NewClient(t)
	runServer(t, need(t, "python3"), "-c", keptServer)
	ports := NewPorts(nil, NewMemory(16<<20, 256, nil))
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		cancel()
		_ = ports.Close(ctx)
	})
	first := startFarEnd(t, Options{Ports: ports})
	first.on(answerRequest)
	sub := first.stealRequests(t, "X-User: alice")
	py := startPython(t, client)
	py.ask("alice", "debuggee: ")
	py.ask("bob", "target: ")
	if err := first.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
		t.Fatal(err)
	}
	py.ask("alice", "target: ")
	second := startFarEnd(t, Options{Ports: ports})
	second.on(answerRequest)
	p := resetting()
	second.subscribe(t, p)
	py.ask("alice", "target: ")
	if n, err := second.ResetExisting(t.Context(), p); n != 1 || err != nil {
		t.Errorf("%d were reset, %v", n, err)
	}
	py.ask("alice", "again debuggee: ")
}

func TestResetOverLoopbackOnlyWithASidecar(t *testing.T) {
	local := redirect.Socket{Local: netip.MustParseAddrPort("10.9.0.2:80"), Remote: netip.MustParseAddrPort("127.0.0.6:4000")}
	same := redirect.Socket{Local: netip.MustParseAddrPort("10.9.0.2:80"), Remote: netip.MustParseAddrPort("10.9.0.2:4000")}
	outside := redirect.Socket{Local: netip.MustParseAddrPort("10.9.0.2:80"), Remote: netip.MustParseAddrPort("10.9.0.1:4000")}
	if !isOwn(local) || !isOwn(same) || isOwn(outside) {
		t.Errorf("loopback %v, the pod's own address %v, outside %v", isOwn(local), isOwn(same), isOwn(outside))
	}
}
