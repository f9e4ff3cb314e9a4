//go:build linux

package incoming

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"podstep.dev/agent/incoming/capture"
	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// mirrorRequests asks for copies of requests that have the header.
func (f *farEnd) mirrorRequests(t *testing.T, header string) wire.Subscription {
	t.Helper()
	p := wantRequests(header)
	p.Mode, p.Probes = wire.ModeMirror, []string{"/healthz"}
	sub, err := f.Subscribe(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// unreads adds up what is told of connections that filters cannot look into.
type unreads struct {
	mu      sync.Mutex
	sums    map[wire.Unread]uint64
	notices int
}

func (u *unreads) add(p wire.UnreadParams) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.notices++
	if u.sums == nil {
		u.sums = map[wire.Unread]uint64{}
	}
	for why, n := range p.Connections {
		u.sums[why] += n
	}
}

// become waits until exactly these are told.
func (u *unreads) become(t *testing.T, want map[wire.Unread]uint64) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("told of %v", u.sums)
		}
	})
	testkit.Eventually(t, "unread connections told", func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		if len(u.sums) > len(want) {
			t.Fatalf("told of %v, want %v", u.sums, want)
		}
		return maps.Equal(u.sums, want)
	})
}

func TestMirrorCopiesTheRequestsThatItsFilterMatches(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, testpod.Pod4+":80", nil)
	f := startFarEnd(t, Options{})
	copies := f.copies()
	f.mirrorRequests(t, "X-User: alice")
	// A connection without any has no stream.
	if got := curl(t, client, "http://"+testpod.Pod4+"/others"); got != "target: GET /others 0 <nil> from "+testpod.Client4 {
		t.Errorf("curl: %q", got)
	}
	c := talk(t, client)
	wanted := []string{mine, post("/p", "X-User: alice\r\n", 200<<10), mine}
	for _, request := range []string{
		others, mine, post("/q", "", 100<<10), wanted[1],
		"GET /healthz HTTP/1.1\r\nHost: shop\r\nUser-Agent: kube-probe/1.33\r\nX-User: alice\r\n\r\n", mine,
	} {
		c.ask(request, "from "+testpod.Client4)
	}
	c.send(others + others)
	for range 2 {
		c.receive(http.MethodGet)
	}
	_ = c.Close()
	if got := <-copies; got.kind != wire.KindCopy || got.text != strings.Join(wanted, "") {
		t.Errorf("%s of %d bytes, want %d: %.300q", got.kind, len(got.text), len(strings.Join(wanted, "")), got.text)
	}
	if n := len(f.seen()); n != 1 {
		t.Errorf("%d copies of one connection with matches", n)
	}
}

func TestMirrorLooksIntoBodies(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, testpod.Pod4+":80", nil)
	f := startFarEnd(t, Options{})
	copies := f.copies()
	if _, err := f.Subscribe(t.Context(), wire.SubscribeParams{Port: 80, Mode: wire.ModeMirror, Requests: true, Filter: []byte(`{"json": {"user": "alice"}}`)}); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"bob", "alice"} {
		for _, chunked := range []string{"X-A: b", "Transfer-Encoding: chunked"} {
			out, err := client.Command("curl", "-sS", "--max-time", "10", "-H", "Content-Type: application/json", "-H", chunked,
				"-d", `{"user": "`+user+`"}`, "http://"+testpod.Pod4+"/orders").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "/orders") {
				t.Fatalf("curl: %v: %s", err, out)
			}
		}
	}
	for range 2 {
		if got := <-copies; !strings.Contains(got.text, `{"user": "alice"}`) {
			t.Errorf("copied %q", got.text)
		}
	}
	if n := len(f.seen()); n != 2 {
		t.Errorf("%d copies", n)
	}
}

func TestMirrorTellsWhatItsFilterCannotSee(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, testpod.Pod4+":80")
	old := talk(t, client)
	old.send("hello")
	var told unreads
	f := startFarEnd(t, Options{Unread: told.add})
	copies := f.copies()
	f.mirrorRequests(t, "X-User: alice")
	for _, bytes := range []string{
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x16\x03\x03\x02\x00\x01\x00\x01\xfc\x03\x03",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nno frame", "hello\n", "GET /lf HTTP/1.1\nHost: shop\nX-User: alice\n\n",
		strings.Replace(mine, "\r\n\r\n", "\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", 1) + "whatever",
	} {
		c := talk(t, client)
		if got, err := say(t, c, bytes); err != nil || !strings.HasPrefix(got, "target saw "+testpod.Client4) {
			t.Errorf("%q, %v", got, err)
		}
		_ = c.Close()
	}
	old.send(mine)
	told.become(t, map[wire.Unread]uint64{
		wire.UnreadTLS: 2, wire.UnreadHTTP2: 1, wire.UnreadOther: 1, wire.UnreadOdd: 1, wire.UnreadUpgrade: 1, wire.UnreadOld: 1,
	})
	if told.notices > 3 {
		t.Errorf("%d notices", told.notices)
	}
	if got := <-copies; !strings.HasPrefix(got.text, "GET /mine") || strings.Contains(got.text, "whatever") {
		t.Errorf("copied %q", got.text)
	}
	if n := len(f.seen()); n != 1 {
		t.Errorf("%d copies", n)
	}
}

// A debuggee ends a connection that is idle for its liking, as the target does not.
func TestMirrorGoesOnWhenTheDebuggeeEndsACopy(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, testpod.Pod4+":80", nil)
	f := startFarEnd(t, Options{})
	ended := make(chan string)
	f.on(func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		buf := make([]byte, 4096)
		n, _ := io.ReadAtLeast(st, buf, len(mine))
		_ = st.CloseWrite()
		_, _ = io.Copy(io.Discard, st)
		_ = st.Close()
		ended <- string(buf[:n])
	})
	f.mirrorRequests(t, "X-User: alice")
	c := talk(t, client)
	for range 3 {
		c.ask(mine, "target: GET /mine")
		if got := <-ended; got != mine {
			t.Errorf("copied %q", got)
		}
		c.ask(others, "target: GET /others")
	}
}

func TestMirrorWithAFilterHasNoEffectOnTheTarget(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, testpod.Pod4+":80", nil)
	f := startFarEnd(t, Options{})
	// The debuggee stands at a breakpoint and never reads.
	stand := make(chan struct{})
	f.on(func(st *mux.Stream) { _ = st.Opened(wire.Answer{}); <-stand; st.Reset() })
	defer close(stand)
	f.mirrorRequests(t, "X-User: alice")
	var slowest time.Duration
	for range 8 {
		c := talk(t, client)
		for range 8 {
			began := time.Now()
			c.ask(post("/big", "X-User: alice\r\n", 1<<20), "1048576 <nil>")
			slowest = max(slowest, time.Since(began))
		}
		_ = c.Close()
	}
	t.Logf("the slowest of 64 requests of 1 MiB took %v", slowest)
	if slowest > 2*time.Second {
		t.Errorf("a request took %v", slowest)
	}
}

func TestSubscribeRefusesFiltersThatCannotBe(t *testing.T) {
	f := startFarEnd(t, Options{})
	for text, p := range map[string]wire.SubscribeParams{
		"whole connections":     {Port: 80, Mode: wire.ModeMirror, Filter: []byte(`{"method": "GET"}`)},
		"mirror port 80: the f": {Port: 80, Mode: wire.ModeMirror, Requests: true, Filter: []byte(`{"nonsense": 1}`)},
	} {
		if _, err := f.Subscribe(t.Context(), p); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("refused with %v, want %q", err, text)
		}
	}
	if len(f.mirrors.ports) != 0 {
		t.Error("a refused mirror is watched")
	}
}

func TestConnectionOlderThanTheFilterIsNotCopied(t *testing.T) {
	var told unreads
	f := startFarEnd(t, Options{Unread: told.add})
	f.mirrorRequests(t, "X-User: alice")
	// It began under a subscription without a filter, and has no sieve.
	if v := f.judge(80, []byte(mine)); v != capture.LeaveOut {
		t.Errorf("verdict %v", v)
	}
	told.become(t, map[wire.Unread]uint64{wire.UnreadOld: 1})
}
