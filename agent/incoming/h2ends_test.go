//go:build linux

package incoming

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/h2"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// takeH2 plays an adapter that takes a request, and has f answer it.
func takeH2(f func(st *mux.Stream, in *h2.Reader, w *h2.Writer)) func(*mux.Stream) {
	return func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		f(st, h2.NewReader(st), h2.NewWriter(st))
	}
}

// begin sends the outcome and a response's head.
func beginH2(st *mux.Stream, w *h2.Writer, end bool) {
	_ = wire.WriteFrame(st, wire.Outcome{}, nil)
	_ = w.Head(h2.Fields(":status", "200", "who", "debuggee"), end)
}

// echoTarget plays a target that answers each request when it has ended.
func echoTarget(r *rawH2, f http2.Frame) {
	if f.Header().Flags.Has(http2.FlagDataEndStream) && f.Header().Type <= http2.FrameHeaders {
		r.headers(f.Header().StreamID, true, ":status=200", "who=target")
	}
}

func TestRefusedStreamsReachTheTargetWhole(t *testing.T) {
	client, f := h2Course(t, wantRequests("X-User: alice"))
	var n int
	var mu sync.Mutex
	f.on(func(st *mux.Stream) {
		mu.Lock()
		n++
		late := n%2 == 0
		mu.Unlock()
		if late {
			in := h2.NewReader(st)
			for n := 0; n < 20<<10; {
				fr, err := in.Next()
				if n += len(fr.Data); err != nil || fr.End {
					break
				}
			}
			<-time.After(5 * time.Millisecond)
		}
		refuse(st)
	})
	c := h2Client(t, client, "80")
	// Together these are far more than any window, so a single byte that was counted wrongly adds up.
	for range 4 {
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				size := i * 10_000
				got, err := askH2(c, http.MethodPost, "/x", "X-User: alice", io.LimitReader(zeros{}, int64(size)))
				if want := "target: HTTP/2.0 POST /x " + itoa(size) + " <nil>"; err != nil || !strings.HasPrefix(got.body, want) {
					t.Errorf("%d: %+v, %v", size, got, err)
				}
				if got, err := askH2(c, http.MethodGet, "/y", "", nil); err != nil || !strings.HasPrefix(got.body, "target: HTTP/2.0 GET /y") {
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
		all.Wait()
	}
	c.CloseIdleConnections()
	f.freed(t)
}

func TestUnansweredStreams(t *testing.T) {
	client, f := h2Course(t, wantRequests("X-User: alice"))
	c := h2Client(t, client, "80")
	fail := func(status int, fallback bool) func(*mux.Stream) {
		return takeH2(func(st *mux.Stream, in *h2.Reader, _ *h2.Writer) {
			for {
				if fr, err := in.Next(); err != nil || fr.End {
					break
				}
			}
			_ = wire.WriteFrame(st, wire.Outcome{Failed: &wire.Failure{Status: status, Fallback: fallback, Text: "podstep: no 100% answer"}}, nil)
			_ = st.CloseWrite()
			_ = st.Close()
		})
	}
	f.on(fail(502, true))
	if got, err := askH2(c, "POST", "/x", "X-User: alice", io.LimitReader(zeros{}, 50_000)); err != nil || !strings.HasPrefix(got.body, "target: HTTP/2.0 POST /x 50000 <nil>") {
		t.Errorf("%+v, %v", got, err)
	}
	f.on(fail(504, false))
	if got, err := askH2(c, "GET", "/x", "X-User: alice", nil); err != nil || got.status != 504 || got.body != "podstep: no 100% answer\n" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := askH2(c, "HEAD", "/x", "X-User: alice", nil); err != nil || got.status != 504 || got.body != "" {
		t.Errorf("%+v, %v", got, err)
	}
	for status, code := range map[int]string{502: "14", 504: "4"} {
		f.on(fail(status, false))
		r, _ := http.NewRequest("POST", "http://shop/a.B/C", strings.NewReader("\x00\x00\x00\x00\x00"))
		r.Header = http.Header{"X-User": {"alice"}, "Content-Type": {"application/grpc+proto"}}
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if h := res.Header; res.StatusCode != 200 || h.Get("Grpc-Status") != code || h.Get("Content-Type") != "application/grpc+proto" || h.Get("Grpc-Message") != "podstep: no 100%25 answer" {
			t.Errorf("%d: %v", status, h)
		}
	}
	c.CloseIdleConnections()
	f.freed(t)
}

func TestStreamsAreGivenUpOneByOne(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	codes := make(chan error, 8)
	f.on(takeH2(func(st *mux.Stream, in *h2.Reader, w *h2.Writer) {
		head, _ := in.Next()
		switch head.Fields[3].Value {
		case "/cancelled":
			_, err := in.Next()
			codes <- err
			st.Reset()
		case "/cancelled-when-sent":
			_, err := in.Next()
			codes <- err
			st.Reset()
		case "/reset":
			beginH2(st, w, false)
			_ = w.Reset(http2.ErrCodeEnhanceYourCalm)
			_ = st.CloseWrite()
			_, _ = io.Copy(io.Discard, st)
			_ = st.Close()
		case "/early":
			beginH2(st, w, true)
			_ = w.Reset(http2.ErrCodeNo)
			_ = st.CloseWrite()
			_, _ = io.Copy(io.Discard, st)
			_ = st.Close()
		}
	}))
	f.stealRequests(t, "X-User: alice")
	c, _ := pair(t, client, echoTarget)
	c.request(1, false, "POST", "/cancelled", "x-user=alice")
	c.request(3, true, "GET", "/cancelled-when-sent", "x-user=alice")
	c.request(5, false, "POST", "/reset", "x-user=alice")
	c.request(7, false, "POST", "/early", "x-user=alice")
	c.request(9, false, "POST", "/target")
	c.hears("5 headers :status=200 who=debuggee")
	c.hears("5 reset ENHANCE_YOUR_CALM")
	c.hears("7 headers :status=200 who=debuggee end")
	c.hears("7 reset NO_ERROR")
	c.say(func() { _ = c.WriteRSTStream(1, http2.ErrCodeCancel); _ = c.WriteRSTStream(3, http2.ErrCodeCancel) })
	var resets int
	for range 2 {
		select {
		case err := <-codes:
			if reset := new(h2.ResetError); errors.As(err, &reset) && reset.Code == http2.ErrCodeCancel {
				resets++
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the adapter was not told")
		}
	}
	if resets != 2 {
		t.Errorf("%d of 2 were told the code", resets)
	}
	c.content(9, 10, true)
	c.hears("9 headers :status=200 who=target end")
	c.say(func() { _ = c.WritePing(false, [8]byte{'p'}) })
	_ = c.conn.Close()
	f.freed(t)
}

func TestSessionEndsStreamsAlone(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	var waiting sync.WaitGroup
	waiting.Add(3)
	f.on(takeH2(func(st *mux.Stream, in *h2.Reader, w *h2.Writer) {
		head, _ := in.Next()
		if head.Fields[3].Value == "/half" {
			beginH2(st, w, false)
			_ = w.Data([]byte("half"), false)
		}
		waiting.Done()
		_, _ = io.Copy(io.Discard, st)
		_, _ = st.Read(make([]byte, 1))
	}))
	f.stealRequests(t, "X-User: alice")
	c, _ := pair(t, client, echoTarget)
	c.request(1, true, "GET", "/a", "x-user=alice")
	c.request(3, false, "POST", "/b", "x-user=alice")
	c.request(5, true, "GET", "/half", "x-user=alice")
	c.request(7, false, "POST", "/target")
	waiting.Wait()
	c.hears("5 headers :status=200 who=debuggee")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	f.End(wire.Refusal{Text: "the end"})
	_ = ctx
	c.hears("1 headers :status=200 who=target end")
	c.hears("3 headers :status=502")
	c.hears("5 reset INTERNAL_ERROR")
	c.content(7, 0, true)
	c.hears("7 headers :status=200 who=target end")
	c.request(9, true, "GET", "/after", "x-user=alice")
	c.hears("9 headers :status=200 who=target end")
	_ = c.conn.Close()
	f.freed(t)
}

func TestTargetThatGoesAwayLeavesDebuggeesStreams(t *testing.T) {
	for _, how := range []string{"GOAWAY", "end"} {
		t.Run(how, func(t *testing.T) { targetGoesAway(t, how) })
	}
}

func targetGoesAway(t *testing.T, how string) {
	{
		client := testpod.NewClient(t)
		f := startFarEnd(t, Options{})
		goOn := make(chan struct{})
		f.on(takeH2(func(st *mux.Stream, in *h2.Reader, w *h2.Writer) {
			beginH2(st, w, false)
			<-goOn
			_ = w.Head(h2.Fields("late", "trailer"), true)
			_ = st.CloseWrite()
			_, _ = io.Copy(io.Discard, st)
			_ = st.Close()
		}))
		f.stealRequests(t, "X-User: alice")
		c, target := pair(t, client, nil)
		c.request(1, true, "GET", "/done")
		target.hears("1 headers")
		c.request(3, true, "GET", "/mine", "x-user=alice")
		c.hears("3 headers :status=200 who=debuggee")
		c.request(5, true, "GET", "/refused")
		target.hears("5 headers")
		if how == "GOAWAY" {
			target.say(func() { _ = target.WriteGoAway(1, http2.ErrCodeNo, []byte("bye")) })
			target.headers(1, true, ":status=200", "who=target")
			c.hears("0 goaway 5 NO_ERROR")
			c.hears("5 reset REFUSED_STREAM")
			c.hears("1 headers :status=200 who=target")
		}
		_ = target.conn.Close()
		if how == "end" {
			c.hears("0 goaway 5 NO_ERROR")
			c.hears("1 reset INTERNAL_ERROR")
			c.hears("5 reset INTERNAL_ERROR")
		}
		c.hasNot("end")
		close(goOn)
		c.hears("3 headers late=trailer end")
		c.hears("end")
		f.freed(t)
	}
}

func TestInterimResponsesAndPings(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(takeH2(func(st *mux.Stream, in *h2.Reader, w *h2.Writer) {
		_ = wire.WriteFrame(st, wire.Outcome{}, nil)
		_ = w.Head(h2.Fields(":status", "103", "link", "a"), false)
		_ = w.Head(h2.Fields(":status", "100"), false)
		for {
			if fr, err := in.Next(); err != nil || fr.End {
				break
			}
		}
		_ = w.Head(h2.Fields(":status", "200"), false)
		_ = w.Data([]byte("content"), false)
		_ = w.Head(h2.Fields("grpc-status", "0"), true)
		_ = st.CloseWrite()
		_ = st.Close()
	}))
	f.stealRequests(t, "X-User: alice")
	c, target := pair(t, client, func(r *rawH2, f http2.Frame) {
		if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
			r.say(func() { _ = r.WritePing(true, p.Data) })
		}
	})
	c.request(1, false, "POST", "/", "x-user=alice", "expect=100-continue")
	c.hears("1 headers :status=103 link=a")
	c.hears("1 headers :status=100")
	// A ping that a debuggee's response may be the reason of is not for the target; the others are.
	c.say(func() { _ = c.WritePing(false, [8]byte{'m', 'i', 'n', 'e'}) })
	c.hears("0 ping mine")
	c.headers(1, true, "sum=1")
	c.hears("1 headers :status=200")
	c.hears("1 headers grpc-status=0 end")
	testkit.Eventually(t, "a ping reaches the target", func() bool {
		c.say(func() { _ = c.WritePing(false, [8]byte{'h', 'i'}) })
		return target.heardOf("0 ping hi")
	})
	target.hasNot("0 ping mine")
	_ = c.conn.Close()
	f.freed(t)
}

func TestConnectionOfAClaimOfEverythingWithoutAnHTTP2Target(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	for _, target := range []string{"none", "HTTP/1"} {
		if target == "HTTP/1" {
			webTarget(t, testpod.Pod4+":80", nil)
		}
		f.on(func(st *mux.Stream) {
			if st.Header.Kind != wire.KindIncoming {
				t.Errorf("a stream of %v", st.Header.Kind)
			}
			_ = st.Opened(wire.Answer{})
			d, err := net.Dial("tcp", "127.0.0.1:90")
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(d, st); _ = d.(*net.TCPConn).CloseWrite() }()
			_, _ = io.Copy(st, d)
			_ = st.CloseWrite()
			_ = st.Close()
		})
		if target == "none" {
			serveH2(t, "127.0.0.1:90", says("debuggee"))
			f.stealRequests(t, "")
		}
		c := h2Client(t, client, "80")
		if got, err := askH2(c, "GET", "/", "", nil); err != nil || !strings.HasPrefix(got.body, "debuggee: HTTP/2.0 GET /") {
			t.Errorf("target %s: %+v, %v", target, got, err)
		}
		c.CloseIdleConnections()
	}
	f.freed(t)
}

func TestPausedAndJSON(t *testing.T) {
	p := wantRequests("")
	p.Filter, p.OnPause = []byte(`{"json": {"user": "alice"}}`), wire.PausePass
	client, f := h2Course(t, p)
	c := h2Client(t, client, "80")
	ask := func(body, want string) {
		t.Helper()
		got, err := askH2(c, "POST", "/", "Content-Type: application/json", strings.NewReader(body))
		if err != nil || !strings.HasPrefix(got.body, want+": HTTP/2.0 POST / "+itoa(len(body))) {
			t.Errorf("%+v, %v, want %s", got, err, want)
		}
	}
	long := `{"user":"alice","x":"` + strings.Repeat("x", 60<<10) + `"}`
	for range 5 {
		ask(`{"user":"alice"}`, "debuggee")
		ask(`{"user":"bob"}`, "target")
		ask(long, "debuggee")
		ask(strings.Replace(long, "alice", "carol", 1), "target")
		ask(long+strings.Repeat(" ", 100<<10), "target")
	}
	f.SetPaused(time.Now())
	ask(`{"user":"alice"}`, "target")
	f.SetPaused(time.Time{})
	ask(`{"user":"alice"}`, "debuggee")
	c.CloseIdleConnections()
	f.freed(t)
}

// TestSlowClientOfATargetThatSpeaksFirst : servers may send their SETTINGS before they hear anything.
func TestSlowClientOfATargetThatSpeaksFirst(t *testing.T) {
	client := testpod.NewClient(t)
	l, err := net.Listen("tcp", testpod.Pod4+":80")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 4)
	serveEach(t, l, func(c net.Conn) {
		accepted <- struct{}{}
		_ = http2.NewFramer(c, c).WriteSettings()
		_, _ = io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
		r := hearH2(t, c, echoTarget)
		r.hears("end")
	})
	f := startFarEnd(t, Options{})
	f.on(takeH2(func(st *mux.Stream, in *h2.Reader, w *h2.Writer) {
		_, _ = in.Next()
		beginH2(st, w, true)
		_ = st.CloseWrite()
		_ = st.Close()
	}))
	f.stealRequests(t, "X-User: alice")
	conn, err := client.Dial(testpod.Pod4 + ":80")
	if err != nil {
		t.Fatal(err)
	}
	<-accepted
	<-time.After(20 * time.Millisecond)
	c := startH2(t, conn, true, nil)
	c.request(1, true, "GET", "/", "x-user=alice")
	c.hears("1 headers :status=200 who=debuggee end")
	if len(accepted) > 0 {
		t.Error("the target was connected to twice")
	}
	_ = conn.Close()
	f.freed(t)
}
