//go:build linux

package incoming

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// webTarget plays the target by net/http: it answers with what it saw.
func webTarget(t *testing.T, addr string, handler http.HandlerFunc) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if handler == nil {
		handler = func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			_, _ = fmt.Fprintf(w, "target: %s %s %d %v from %s", r.Method, r.URL, len(body), err, host)
		}
	}
	server := &http.Server{Handler: handler}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-served })
}

// answerRequest plays an adapter that takes each request, and a debuggee that answers it with its head's first line.
func answerRequest(st *mux.Stream) {
	if st.Opened(wire.Answer{}) != nil {
		return
	}
	request, err := io.ReadAll(st)
	if err != nil {
		st.Reset()
		return
	}
	line, _, _ := bytes.Cut(request, []byte("\r\n"))
	body := fmt.Sprintf("debuggee: %s, %d bytes", line, len(request))
	_ = wire.WriteFrame(st, wire.Outcome{}, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	_ = st.CloseWrite()
	_ = st.Close()
}

// failRequest plays a debuggee that takes a request and does not answer.
func failRequest(f wire.Failure) func(*mux.Stream) {
	return func(st *mux.Stream) {
		if st.Opened(wire.Answer{}) != nil {
			return
		}
		_, _ = io.ReadAll(st)
		_ = wire.WriteFrame(st, wire.Outcome{Failed: &f}, nil)
		_ = st.CloseWrite()
		_ = st.Close()
	}
}

// stealRequests asks for those that have the header, for all without one.
func (f *farEnd) stealRequests(t *testing.T, header string) wire.Subscription {
	t.Helper()
	sub, err := f.Subscribe(t.Context(), wantRequests(header))
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func wantRequests(header string) wire.SubscribeParams {
	p := wire.SubscribeParams{Port: 80, Mode: wire.ModeSteal, Requests: true}
	if name, value, ok := strings.Cut(header, ": "); ok {
		p.Filter, _ = json.Marshal(map[string]any{"header": map[string]string{name: value}})
	}
	return p
}

// talker is a client on one connection.
type talker struct {
	*net.TCPConn
	t *testing.T
	r *bufio.Reader
}

func talk(t *testing.T, client *testpod.Client) *talker {
	t.Helper()
	c := dial(t, client, testpod.Pod4+":80")
	t.Cleanup(func() { _ = c.Close() })
	return &talker{c, t, bufio.NewReader(c)}
}

func (c *talker) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send %q: %v", text, err)
	}
}

// receive reads a response and returns its status and body.
func (c *talker) receive(method string) (int, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("response: %v", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("response of %d: %v", res.StatusCode, err)
	}
	return res.StatusCode, string(body)
}

func (c *talker) ask(request, want string) {
	c.t.Helper()
	c.send(request)
	method, _, _ := strings.Cut(request, " ")
	if _, body := c.receive(method); !strings.Contains(body, want) {
		c.t.Errorf("%.60q is answered by %q, want %q", request, body, want)
	}
}

const (
	mine   = "GET /mine HTTP/1.1\r\nHost: shop\r\nX-User: alice\r\n\r\n"
	others = "GET /others HTTP/1.1\r\nHost: shop\r\n\r\n"
)

func post(path, header string, body int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: shop\r\n%sContent-Length: %d\r\n\r\n%s", path, header, body, strings.Repeat("x", body))
}

func TestRequestsOfOneConnectionGoToWhomTheyAreFor(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	f := startFarEnd(t, Options{})
	f.on(answerRequest)
	sub := f.stealRequests(t, "X-User: alice")
	c := talk(t, client)
	for range 3 {
		c.ask(others, "target: GET /others 0 <nil> from "+testpod.Client4)
		c.ask(mine, "debuggee: GET /mine HTTP/1.1, ")
		c.ask(post("/a", "X-User: alice\r\n", 200<<10), "debuggee: POST /a HTTP/1.1, ")
		c.ask(post("/b", "", 200<<10), "target: POST /b 204800 <nil>")
	}
	c.send(others + mine + others + mine)
	for _, want := range []string{"target", "debuggee", "target", "debuggee"} {
		if _, body := c.receive("GET"); !strings.HasPrefix(body, want) {
			t.Errorf("a pipelined request is answered by %q, want %s", body, want)
		}
	}
	headers := f.seen()
	for i, h := range headers {
		if h.Kind != wire.KindRequest || h.From.Addr().String() != testpod.Client4 || h.Port != 80 || h.Subscription != sub.ID ||
			h.Connection != headers[0].Connection || h.Request != uint64(i+1) || h.Protocol != wire.HTTP1 {
			t.Errorf("request %d: %+v", i+1, h)
		}
	}
	if len(headers) != 8 {
		t.Errorf("%d requests were offered, want 8", len(headers))
	}
}

func TestRefusedRequestReachesTheTargetWhole(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	f := startFarEnd(t, Options{})
	for name, handle := range map[string]func(*mux.Stream){
		"at once": refuse,
		"late":    func(st *mux.Stream) { _, _ = io.ReadFull(st, make([]byte, 32<<10)); refuse(st) },
		"when all is kept that is kept": func(st *mux.Stream) {
			_, _ = io.ReadFull(st, make([]byte, wire.MaxFirst/2))
			<-time.After(50 * time.Millisecond)
			refuse(st)
		},
	} {
		f.on(handle)
		sub := f.stealRequests(t, "X-User: alice")
		c := talk(t, client)
		c.ask(post("/refused", "X-User: alice\r\n", 1<<20), fmt.Sprintf("target: POST /refused %d <nil>", 1<<20))
		c.send("POST /chunked HTTP/1.1\r\nHost: shop\r\nX-User: alice\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 40 {
			c.send(fmt.Sprintf("%x\r\n%s\r\n", 4<<10, strings.Repeat("y", 4<<10)))
		}
		c.send("0\r\n\r\n")
		if _, body := c.receive("POST"); !strings.Contains(body, fmt.Sprintf("target: POST /chunked %d <nil>", 40*4<<10)) {
			t.Errorf("%s: %q", name, body)
		}
		_ = c.Close()
		if err := f.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
			t.Fatal(err)
		}
	}
	f.freed(t)
}

func TestUnansweredRequestFallsBackAsTheAdapterSays(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	f := startFarEnd(t, Options{})
	f.stealRequests(t, "X-User: alice")
	for name, test := range map[string]struct {
		request string
		failure wire.Failure
		status  int
		want    string
	}{
		"to the target":       {mine, wire.Failure{Status: 502, Fallback: true}, 200, "target: GET /mine"},
		"to nobody":           {mine, wire.Failure{Status: 504, Text: "podstep: the debuggee did not answer"}, 504, "podstep: the debuggee did not answer"},
		"too long to be kept": {post("/p", "X-User: alice\r\n", 1<<20), wire.Failure{Status: 502, Fallback: true, Text: "podstep: gone"}, 502, "podstep: gone"},
		"short":               {post("/p", "X-User: alice\r\n", 1<<10), wire.Failure{Status: 502, Fallback: true}, 200, "target: POST /p 1024"},
	} {
		f.on(failRequest(test.failure))
		c := talk(t, client)
		c.send(test.request)
		method, _, _ := strings.Cut(test.request, " ")
		if status, body := c.receive(method); status != test.status || !strings.HasPrefix(body, test.want) {
			t.Errorf("%s: %d %q, want %d %q", name, status, body, test.status, test.want)
		}
		if test.status == 200 {
			c.ask(others, "target: GET /others")
		} else if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the connection goes on: %v", name, err)
		}
		_ = c.Close()
	}
	f.freed(t)
}

func TestRequestOfALostSessionIsRepeatedWhenThatIsSafe(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	for name, test := range map[string]struct {
		request string
		repeat  wire.Repeat
		status  int
	}{
		"safe":                      {mine, "", 200},
		"not safe":                  {post("/p", "X-User: alice\r\n", 10), "", 502},
		"never":                     {mine, wire.RepeatNever, 502},
		"idempotent by its field":   {post("/p", "X-User: alice\r\nIdempotency-Key: 1\r\n", 10), wire.RepeatIdempotent, 200},
		"not idempotent":            {post("/p", "X-User: alice\r\n", 10), wire.RepeatIdempotent, 502},
		"its field does not matter": {post("/p", "X-User: alice\r\nIdempotency-Key: 1\r\n", 10), "", 502},
	} {
		core, logs := observer.New(zap.DebugLevel)
		f := startFarEnd(t, Options{Log: zap.New(core)})
		f.on(func(st *mux.Stream) {
			_ = st.Opened(wire.Answer{})
			_, _ = io.ReadAll(st)
		})
		p := wantRequests("X-User: alice")
		p.Repeat = test.repeat
		f.subscribe(t, p)
		c := talk(t, client)
		c.send(test.request)
		testkit.Eventually(t, "it is delivered", func() bool { return logs.FilterMessage("delivered").Len() > 0 })
		// The connection is not the session's: what it had is given up, the connection goes on as long as the ports do.
		f.Subscriptions.End(wire.Refusal{Errno: syscall.ENETDOWN})
		method, _, _ := strings.Cut(test.request, " ")
		if status, body := c.receive(method); status != test.status {
			t.Errorf("%s: %d %q, want %d", name, status, body, test.status)
		}
		_ = c.Close()
		closeNow(t, f)
	}
}

func closeNow(t *testing.T, f *farEnd) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Subscriptions.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestPausedSessionIsNotAskedWhenItsPolicyIsToPass(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	f := startFarEnd(t, Options{})
	f.on(answerRequest)
	for policy, want := range map[wire.OnPause]string{"": "target", wire.PausePass: "target", wire.PauseHold: "debuggee", wire.PauseReject: "debuggee"} {
		p := wantRequests("X-User: alice")
		p.OnPause = policy
		sub, err := f.Subscribe(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		f.SetPaused(time.Now())
		c := talk(t, client)
		c.ask(mine, want+": GET /mine")
		f.SetPaused(time.Time{})
		c.ask(mine, "debuggee: GET /mine")
		if err := f.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProbesOfAPortWithRequestsAreTheTargets(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	f := startFarEnd(t, Options{})
	f.on(answerRequest)
	p := wantRequests("")
	p.Probes = []string{"/healthz"}
	f.subscribe(t, p)
	c := talk(t, client)
	c.ask("GET /healthz HTTP/1.1\r\nHost: pod\r\nUser-Agent: kube-probe/1.37\r\n\r\n", "target: GET /healthz")
	c.ask("GET /healthz HTTP/1.1\r\nHost: pod\r\nUser-Agent: curl\r\n\r\n", "debuggee: GET /healthz")
}

// TestProbesMayGoToTheDebuggee : as long as the debugger is not stopped, and the target answers those that the debuggee does not.
func TestProbesMayGoToTheDebuggee(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	f := startFarEnd(t, Options{})
	f.on(answerRequest)
	p := wantRequests("")
	p.Probes, p.ProbesTo, p.Repeat = []string{"/healthz"}, wire.ProbesDebuggee, wire.RepeatNever
	p.ProbeFilter, p.OnPause = []byte(`{"header": {"user-agent": {"prefix": "ELB-"}}}`), wire.PauseHold
	f.subscribe(t, p)
	const kubelet = "GET /healthz HTTP/1.1\r\nHost: pod\r\nUser-Agent: kube-probe/1.37\r\n\r\n"
	const balancer = "GET /alive HTTP/1.1\r\nHost: pod\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n"
	const poster = "POST /alive HTTP/1.1\r\nHost: pod\r\nUser-Agent: ELB-HealthChecker/2.0\r\nContent-Length: 0\r\n\r\n"
	c := talk(t, client)
	for _, request := range []string{kubelet, balancer, poster, mine} {
		line, _, _ := strings.Cut(request, " HTTP")
		c.ask(request, "debuggee: "+line)
	}
	var marked []bool
	for _, h := range f.seen() {
		marked = append(marked, h.Probe)
	}
	if diff := cmp.Diff([]bool{true, true, false, false}, marked); diff != "" {
		t.Errorf("marked as probes: %s", diff)
	}
	f.SetPaused(time.Now())
	c.ask(kubelet, "target: GET /healthz")
	c.ask(balancer, "target: GET /alive")
	c.ask(mine, "debuggee: GET /mine")
	f.SetPaused(time.Time{})
	// The adapter knows of the pause first, or while the debuggee has one.
	f.on(func(st *mux.Stream) { _ = st.Refuse(&wire.Refusal{Errno: syscall.EAGAIN, Reason: wire.ReasonPaused}) })
	c.ask(kubelet, "target: GET /healthz")
	f.on(failRequest(wire.Failure{Status: 502, Fallback: true}))
	c.ask(balancer, "target: GET /alive")
	bad := wantRequests("")
	bad.ProbeFilter = []byte(`{"pth": "/"}`)
	if _, err := f.Subscribe(t.Context(), bad); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a filter of probes that is none: %v", err)
	}
}

// TestPatienceOfASession : a request waits as long for the adapter as that has said, and others' adapters are not waited for longer.
func TestPatienceOfASession(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	const open = 100 * time.Millisecond
	f := startFarEnd(t, Options{OpenTimeout: open})
	f.on(func(st *mux.Stream) {
		time.AfterFunc(3*open, func() { answerRequest(st) })
	})
	f.stealRequests(t, "X-User: alice")
	c := talk(t, client)
	c.ask(mine, "target: ")
	f.SetPatience(time.Minute)
	began := time.Now()
	testkit.Eventually(t, "the adapter is asked again", func() bool {
		c.send(mine)
		_, body := c.receive("GET")
		return strings.HasPrefix(body, "debuggee: ")
	})
	if took := time.Since(began); took < 3*open {
		t.Errorf("it took %v", took)
	}
}

// TestClosedConnectionsAreTold : the debuggee learns that a client is gone, also while it answers.
func TestClosedConnectionsAreTold(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	var mu sync.Mutex
	var closed []uint64
	f := startFarEnd(t, Options{Closed: func(n uint64) {
		mu.Lock()
		defer mu.Unlock()
		closed = append(closed, n)
	}})
	told := func(n int) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(closed) == n
		}
	}
	f.on(answerRequest)
	f.stealRequests(t, "X-User: alice")
	c := talk(t, client)
	c.ask(mine, "debuggee")
	_ = c.Close()
	testkit.Eventually(t, "the close is told", told(1))

	begun, reset := make(chan struct{}), make(chan error)
	f.on(func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		_, _ = io.ReadAll(st)
		_ = wire.WriteFrame(st, wire.Outcome{}, []byte("HTTP/1.1 200 OK\r\n\r\nfirst"))
		close(begun)
		for {
			if _, err := io.WriteString(st, "more"); err != nil {
				reset <- err
				return
			}
			<-time.After(time.Millisecond)
		}
	})
	c = talk(t, client)
	c.send(mine)
	<-begun
	_ = c.CloseWrite()
	testkit.Eventually(t, "the end is told while it is answered", told(2))
	_ = c.SetLinger(0)
	_ = c.Close()
	if err := <-reset; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the debuggee's write fails with %v", err)
	}
	f.freed(t)
}
