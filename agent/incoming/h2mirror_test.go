//go:build linux

package incoming

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/h2"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// copied2 is a copy of a request of HTTP/2 that was read to its end.
type copied2 struct {
	header        wire.Header
	head, trailer []hpack.HeaderField
	body          []byte
	whole         bool
	reset         http2.ErrCode
}

func (c copied2) path() string { return h2.Value(c.head, ":path") }

// copies2 takes copies of requests of HTTP/2 from here on, and hands over each when it is over: as soon as the debuggee has all of it, unless
// it lingers.
func (f *farEnd) copies2(t *testing.T, lingers bool) <-chan copied2 {
	all := make(chan copied2, 256)
	f.on(func(st *mux.Stream) {
		if st.Header.Kind != wire.KindRequestCopy || st.Header.Protocol != wire.HTTP2 {
			t.Errorf("a stream of %s %q", st.Header.Kind, st.Header.Protocol)
		}
		_ = st.Opened(wire.Answer{})
		c := copied2{header: st.Header}
		in := h2.NewReader(st)
		for {
			frame, err := in.Next()
			var reset *h2.ResetError
			if errors.As(err, &reset) {
				c.reset = reset.Code
			}
			if err != nil {
				break
			}
			switch {
			case frame.Fields != nil && c.head == nil:
				c.head = append(c.head, frame.Fields...)
			case frame.Fields != nil:
				c.trailer = append(c.trailer, frame.Fields...)
			}
			c.body = append(c.body, frame.Data...)
			if c.whole = frame.End; frame.End && !lingers {
				_ = st.CloseWrite()
			}
		}
		all <- c
		_ = st.Close()
	})
	return all
}

// roomy has the kernel keep all that these tests send at once, since of a connection of HTTP/2 nothing is read behind a packet that it drops, and
// has copies wait for a debuggee that is slower than the target.
func roomy() *Memory { return NewMemory(256<<20, 4096, nil) }

// TestMirrorCopiesStreamsOfHTTP2 : of connections that carry everybody's, it copies its own streams whole, with all that streams have.
func TestMirrorCopiesStreamsOfHTTP2(t *testing.T) {
	client := testpod.NewClient(t)
	serveH2(t, testpod.Pod4+":80", says("target"))
	closed := make(chan uint64, 4)
	var told unreads
	f := startFarEnd(t, Options{Memory: roomy(), Closed: func(n uint64) { closed <- n }, Unread: told.add})
	copies := f.copies2(t, false)
	sub := f.mirrorRequests(t, "X-User: alice")
	c := h2Client(t, client, "80")
	if _, err := askH2(c, http.MethodGet, "/first", "", nil); err != nil {
		t.Fatal(err)
	}
	const n = 40
	sums := map[string]string{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			body := make([]byte, rand.IntN(300<<10))
			for at := range body {
				body[at] = byte(rand.Uint32())
			}
			path, header := fmt.Sprint("/up/", i), ""
			if i%2 == 1 {
				header = "X-User: alice"
			}
			mu.Lock()
			sums[path] = fmt.Sprintf("%d %x", len(body), sha256.Sum256(body))
			mu.Unlock()
			got, err := askH2(c, http.MethodPost, path, header, bytes.NewReader(body))
			if want := fmt.Sprintf("target: HTTP/2.0 POST %s %d <nil>", path, len(body)); err != nil || !strings.HasPrefix(got.body, want) {
				t.Errorf("%v: %.100q, want %q", err, got.body, want)
			}
		})
	}
	all.Wait()
	var connection uint64
	for range n / 2 {
		got := <-copies
		if sum := fmt.Sprintf("%d %x", len(got.body), sha256.Sum256(got.body)); !got.whole || sum != sums[got.path()] || h2.Value(got.head, "x-user") != "alice" {
			t.Errorf("copied %v, whole: %v, %.20s, want %.20s", got.head, got.whole, sum, sums[got.path()])
		}
		delete(sums, got.path())
		h := got.header
		if connection == 0 {
			connection = h.Connection
		}
		if h.Connection != connection || h.Request == 0 || h.Subscription != sub.ID || h.From.Addr().String() != testpod.Client4 || h.To.String() != testpod.Pod4+":80" {
			t.Errorf("header %+v", h)
		}
	}
	if _, err := askH2(c, http.MethodGet, "/healthz", "User-Agent: kube-probe/1.33", nil); err != nil {
		t.Fatal(err)
	}
	c.CloseIdleConnections()
	if got := <-closed; got != connection {
		t.Errorf("connection %d is told to be over, want %d", got, connection)
	}
	if len(f.seen()) != n/2 || len(sums) != n/2 || told.notices != 0 {
		t.Errorf("%d copies, %v unread", len(f.seen()), told.sums)
	}
}

func TestMirrorLooksIntoBodiesOfHTTP2(t *testing.T) {
	client := testpod.NewClient(t)
	serveH2(t, testpod.Pod4+":80", says("target"))
	f := startFarEnd(t, Options{})
	copies := f.copies2(t, false)
	if _, err := f.Subscribe(t.Context(), wire.SubscribeParams{Port: 80, Mode: wire.ModeMirror, Requests: true, Filter: []byte(`{"json": {"user": "alice"}}`)}); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"bob", "alice", "bob"} {
		out := runClient(t, client, "curl", "-sS", "--max-time", "10", "--http2-prior-knowledge", "-H", "Content-Type: application/json",
			"-d", `{"user": "`+user+`"}`, "http://"+testpod.Pod4+"/orders")
		if !strings.Contains(out, "/orders") {
			t.Errorf("curl: %s", out)
		}
	}
	if got := <-copies; string(got.body) != `{"user": "alice"}` || !got.whole {
		t.Errorf("copied %q", got.body)
	}
	if n := len(f.seen()); n != 1 {
		t.Errorf("%d copies", n)
	}
}

// TestMirrorTellsOfStreamsThatClientsGiveUp : in the midst of a request, and behind it.
func TestMirrorTellsOfStreamsThatClientsGiveUp(t *testing.T) {
	client := testpod.NewClient(t)
	began := make(chan struct{}, 2)
	serveH2(t, testpod.Pod4+":80", func(_ http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
	})
	f := startFarEnd(t, Options{})
	copies := f.copies2(t, true)
	f.mirrorRequests(t, "X-User: alice")
	c := h2Client(t, client, "80")
	half, feed := io.Pipe()
	defer func() { _ = feed.Close() }()
	go func() { _, _ = io.WriteString(feed, "some of it") }()
	for name, body := range map[string]io.Reader{"/whole": nil, "/half": half} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://shop"+name, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-User", "alice")
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := c.Do(r); err == nil {
				_ = res.Body.Close()
			}
		}()
		<-began
		testkit.Eventually(t, "the copy begins", func() bool { return len(f.seen()) > 0 && f.seen()[len(f.seen())-1].Request > 0 })
		cancel()
		<-done
		got := <-copies
		if got.path() != name || got.whole != (body == nil) || got.reset != http2.ErrCodeCancel {
			t.Errorf("%s: copied %v of %d bytes, whole: %v, reset: %v", name, got.head, len(got.body), got.whole, got.reset)
		}
	}
}

// TestMirrorOfHTTP2HasNoEffectOnTheTarget : while debuggees stand at a breakpoint and never read, targets answer as ever, what is lost is told, and others' copies come.
func TestMirrorOfHTTP2HasNoEffectOnTheTarget(t *testing.T) {
	client := testpod.NewClient(t)
	serveH2(t, testpod.Pod4+":80", says("target"))
	var lost, packets atomic.Uint64
	f := startFarEnd(t, Options{Memory: NewMemory(64<<20, 256, nil), Lost: func(p wire.LostParams) { lost.Add(p.Connections); packets.Add(p.Packets) }})
	stand := make(chan struct{})
	small := make(chan string, 64)
	f.on(func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		head, err := h2.NewReader(st).Next()
		if path := h2.Value(head.Fields, ":path"); err == nil && path != "/up" {
			small <- path
			_ = st.CloseWrite()
			_ = st.Close()
			return
		}
		<-stand
		st.Reset()
	})
	defer close(stand)
	f.mirrorRequests(t, "X-User: alice")
	var c *http.Client
	var slowest time.Duration
	for i := range 48 {
		if i%8 == 0 {
			c = h2Client(t, client, "80")
		}
		began := time.Now()
		if got, err := askH2(c, http.MethodPost, "/up", "X-User: alice", bytes.NewReader(make([]byte, 1<<20))); err != nil || !strings.Contains(got.body, " 1048576 <nil>") {
			t.Fatalf("%v: %.100q", err, got.body)
		}
		slowest = max(slowest, time.Since(began))
		path := fmt.Sprint("/small/", i)
		if _, err := askH2(c, http.MethodGet, path, "X-User: alice", nil); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-small:
			if got != path {
				t.Errorf("copied %s, want %s", got, path)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no copy of %s; the kernel dropped %d packets", path, packets.Load())
		}
	}
	t.Logf("the slowest of 48 requests of 1 MiB took %v, %d copies lost", slowest, lost.Load())
	if slowest > 2*time.Second {
		t.Errorf("a request took %v", slowest)
	}
	testkit.Eventually(t, "losses told", func() bool { return lost.Load() > 0 })
}

// TestMirrorOfHTTP2BesideAnOldAdapter : it refuses copies that it does not know, and the connection is told to be unread, once.
func TestMirrorOfHTTP2BesideAnOldAdapter(t *testing.T) {
	client := testpod.NewClient(t)
	serveH2(t, testpod.Pod4+":80", says("target"))
	var told unreads
	f := startFarEnd(t, Options{Unread: told.add})
	f.on(func(st *mux.Stream) {
		_ = st.Refuse(&wire.Refusal{Errno: syscall.EOPNOTSUPP, Reason: wire.ReasonUnsupported})
	})
	f.mirrorRequests(t, "X-User: alice")
	c := h2Client(t, client, "80")
	for range 3 {
		if _, err := askH2(c, http.MethodGet, "/", "X-User: alice", nil); err != nil {
			t.Fatal(err)
		}
	}
	told.become(t, map[wire.Unread]uint64{wire.UnreadHTTP2: 1})
}

// TestRealHTTP2ClientsAndServersBesideAMirror : each client alternates on one connection; the target answers all, the debuggee gets its own.
func TestRealHTTP2ClientsAndServersBesideAMirror(t *testing.T) {
	const curls = `for h in a: x-user:alice a: x-user:alice a: x-user:alice; do curl -sS --http2-prior-knowledge -H $h http://10.9.0.2/big -o /dev/null -w "%{http_version} b %{size_download}\n"; done`
	for _, server := range []string{"nginx", "node"} {
		for name, args := range map[string][]string{"bash": {"-c", curls}, "node": {"-e", nodeH2Client}, "python3": {"-c", httpxClient}} {
			t.Run(server+" "+name, func(t *testing.T) {
				if name == "python3" {
					needPython(t, "httpx, h2")
				}
				client := testpod.NewClient(t)
				if server == "nginx" {
					startNginxH2(t)
				} else {
					runServer(t, need(t, "node"), "-e", nodeH2)
				}
				var asked atomic.Int64
				serveH2(t, "127.0.0.1:90", func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/big" || r.Header.Get("X-User") != "alice" {
						t.Errorf("the debuggee is asked %s by %q", r.URL, r.Header.Get("X-User"))
					}
					says("debuggee")(w, r)
					asked.Add(1)
				})
				f := startFarEnd(t, Options{})
				f.on(takerH2(t, "127.0.0.1:90", wire.KindRequestCopy))
				f.mirrorRequests(t, "X-User: alice")
				var got int
				for line := range strings.Lines(runClient(t, client, name, args...)) {
					if words := strings.Fields(line); len(words) != 3 || words[1] != "b" {
						t.Errorf("answered %q", line)
					}
					got++
				}
				if got != 6 {
					t.Errorf("%d answers", got)
				}
				testkit.Eventually(t, "the debuggee gets its own", func() bool { return asked.Load() == 3 })
				if n := len(f.seen()); n != 3 {
					t.Errorf("%d copies", n)
				}
			})
		}
	}
}

// TestGRPCBesideAMirror : grpc-go finds its target as it is, and the debuggee gets its calls of the shared connection, and that they are given up.
func TestGRPCBesideAMirror(t *testing.T) {
	program := filepath.Join(t.TempDir(), "grpc")
	build := exec.CommandContext(t.Context(), need(t, "go"), "build", "-C", "../../test/debuggees/grpc", "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	client := testpod.NewClient(t)
	runServer(t, program, "serve", "target", "80")
	runServer(t, program, "serve", "debuggee", "81")
	for range 3 {
		if copiesCalls(t, client, program) {
			return
		}
		t.Log("the kernel dropped packets: the machine does much else")
	}
	t.Error("it dropped some each time")
}

// copiesCalls makes all calls beside a mirror, and reports whether the agent got all of the client's packets.
func copiesCalls(t *testing.T, client *testpod.Client, program string) bool {
	t.Helper()
	var packets, lost, resets, calls atomic.Uint64
	var told unreads
	f := startFarEnd(t, Options{Memory: roomy(), Unread: told.add, Lost: func(p wire.LostParams) { packets.Add(p.Packets); lost.Add(p.Connections) }})
	carry := carrierH2(t, "127.0.0.1:81", wire.KindRequestCopy)
	f.on(func(st *mux.Stream) {
		calls.Add(1)
		if carry(st) != nil {
			resets.Add(1)
		}
	})
	p := wantRequests("")
	p.Mode, p.Filter = wire.ModeMirror, []byte(`{"all": [{"header": {"x-user": "alice"}}, {"grpc": {"service": "podstep.Echo"}}]}`)
	f.subscribe(t, p)
	if got := runClient(t, client, program, "call", testpod.Pod4+":80", "x-user=alice", "target"); got != "ok\n" {
		t.Errorf("%q", got)
	}
	// Of 20 calls of each of 7 kinds, those with a deadline may not leave the client; of the others, 20 are given up.
	testkit.Eventually(t, "copies come, and some are given up", func() bool {
		return packets.Load() > 0 || lost.Load() > 0 || calls.Load() >= 120 && resets.Load() >= 20
	})
	t.Logf("%d calls were copied, %d of them given up; %d packets lost", calls.Load(), resets.Load(), packets.Load())
	if packets.Load() == 0 && (lost.Load() > 0 || told.notices > 0) {
		t.Errorf("%d lost, unread: %v", lost.Load(), told.sums)
	}
	return packets.Load() == 0
}
