package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// patient is a policy to hold for longer than a test takes.
var patient = Pause{Policy: wire.PauseHold, Requests: 10, Patience: time.Hour}

func TestWhatComesWhileTheDebuggerIsStopped(t *testing.T) {
	reject := Pause{Policy: wire.PauseReject}
	for _, c := range []struct {
		name    string
		pause   Pause
		stopped bool
		// went says what becomes of requests and of connections: debuggee, paused, rejected.
		request, incoming string
	}{
		{"running", Pause{}, false, "debuggee", "debuggee"},
		{"running", reject, false, "debuggee", "debuggee"},
		{"running", patient, false, "debuggee", "debuggee"},
		{"stopped", Pause{}, true, "paused", "paused"},
		{"stopped", Pause{Policy: wire.PausePass}, true, "paused", "paused"},
		{"stopped", Pause{Policy: "novel"}, true, "paused", "paused"},
		{"stopped", reject, true, "rejected", "paused"},
		{"stopped", Pause{Policy: wire.PauseHold}, true, "paused", "paused"},
		{"stopped", Pause{Policy: wire.PauseHold, Requests: 1}, true, "paused", "paused"},
	} {
		t.Run(fmt.Sprintf("%s %s %d", c.name, c.pause.Policy, c.pause.Requests), func(t *testing.T) {
			tn := &Tunnel{Pause: c.pause}
			a := connect(t, tn, served(t, various))
			tn.SetPaused(c.stopped)
			if got := a.ask(1, post("/a", "xy")).word(); got != c.request {
				t.Errorf("a request: %s, want %s", got, c.request)
			}
			stream, err := a.Open(t.Context(), incoming(wire.KindIncoming), nil)
			got := outcome{Refused: err}.word()
			if err == nil {
				got = "debuggee"
				_ = stream.Close()
			}
			if got != c.incoming {
				t.Errorf("a connection: %s, want %s", got, c.incoming)
			}
		})
	}
}

// word says what became of a request to various.
func (o outcome) word() string {
	switch {
	case o.isPaused():
		return "paused"
	case strings.HasPrefix(o.Response, "HTTP/1.1 503 "):
		return "rejected"
	case strings.HasPrefix(o.Response, "HTTP/1.1 200 "):
		return "debuggee"
	}
	return o.String()
}

func TestARejectionKeepsTheClientInStep(t *testing.T) {
	tn := &Tunnel{Pause: Pause{Policy: wire.PauseReject}}
	d := served(t, various)
	a := connect(t, tn, d)
	tn.SetPaused(true)
	for _, c := range []struct {
		method, request string
		closes          bool
	}{
		{"GET", get("/"), false},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", false},
		{"POST", post("/", string(large)), false},
		{"GET", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", true},
		{"POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nok", true},
	} {
		o := a.ask(1, c.request)
		want := rejection
		if c.method == "HEAD" {
			want = ""
		}
		o.answered(t, c.method, want)
		r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(o.Response)), &http.Request{Method: c.method})
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" || r.ContentLength != int64(len(rejection)) || r.Close != c.closes {
			t.Errorf("%s: %+v, want a 503 with close=%v", c.method, r, c.closes)
		}
	}
	if got, want := tn.Counts(), (Counts{Rejected: 5}); got != want || d.conns.Load() != 0 {
		t.Errorf("counted %+v and %d connections, want %+v", got, d.conns.Load(), want)
	}
	tn.SetPaused(false)
	a.ask(1, get("/a")).answered(t, "GET", "GET /a 0")
}

func TestHeldRequestsGoOnWithTheDebugger(t *testing.T) {
	tn := &Tunnel{Pause: patient}
	tn.Pause.Requests = 3
	d := served(t, various)
	a := connect(t, tn, d)
	tn.SetPaused(true)
	var group sync.WaitGroup
	for i := range 2 {
		group.Go(func() { a.ask(uint64(i+1), get("/a")).answered(t, "GET", "GET /a 0") })
	}
	group.Go(func() {
		stream, err := a.Open(t.Context(), incoming(wire.KindIncoming), []byte(get("/a")))
		if err != nil {
			t.Error(err)
			return
		}
		_ = stream.CloseWrite()
		_, _ = io.ReadAll(stream)
	})
	testkit.Eventually(t, "three are held", func() bool { return tn.Counts().Held == 3 })
	if o := a.ask(9, get("/a")); !o.isPaused() {
		t.Errorf("one too many: %v, want it to go to the target", o)
	}
	if n := d.conns.Load(); n != 0 {
		t.Errorf("the stopped debuggee got %d connections", n)
	}
	tn.SetPaused(false)
	tn.SetPaused(true) // by the first of them
	group.Wait()
	if got, want := tn.Counts(), (Counts{Delivered: 3, Refused: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestTheEndOfAClientEndsItsHold(t *testing.T) {
	tn := &Tunnel{Pause: patient}
	d := served(t, various)
	a := connect(t, tn, d)
	tn.SetPaused(true)
	var group sync.WaitGroup
	group.Go(func() {
		if o := a.ask(1, get("/")); o.Refused == nil {
			t.Error(o)
		}
	})
	testkit.Eventually(t, "it is held", func() bool { return tn.Counts().Held == 1 })
	a.clients.Closed(t.Context(), 1)
	group.Wait()
	tn.SetPaused(false)
	if got, want := tn.Counts(), (Counts{Refused: 1}); got != want || d.conns.Load() != 0 {
		t.Errorf("counted %+v and %d connections, want %+v", got, d.conns.Load(), want)
	}
}

func TestAHoldEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		g.set(true)
		began := time.Now()
		var refusal *wire.Refusal
		err := g.pass(t.Context(), Pause{Policy: wire.PauseHold, Requests: 1, Patience: time.Minute})
		if !errors.As(err, &refusal) || refusal.Reason != wire.ReasonPaused || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if g.held() != 0 {
			t.Errorf("%d are held still", g.held())
		}
	})
}

func TestAHangIsCountedWhileTheDebuggerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		var moved atomic.Int64
		began, hung := time.Now(), make(chan time.Duration, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go g.watch(ctx, 10*time.Second, &moved, func() { hung <- time.Since(began) })
		time.Sleep(4 * time.Second)
		g.set(true) // until 104
		time.Sleep(100 * time.Second)
		g.set(false) // 6 s are left, until 110
		time.Sleep(5 * time.Second)
		moved.Add(1) // then 10 s from there
		if at := <-hung; at != 120*time.Second {
			t.Errorf("hung after %v, want 120 s", at)
		}
		go g.watch(ctx, time.Second, &moved, func() { t.Error("hung after its end") })
		cancel()
		synctest.Wait()
	})
}

func TestADebuggeeThatHangsIsGivenUp(t *testing.T) {
	var got atomic.Int64
	d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
		if _, err := readRequest(in); err == nil {
			got.Add(1)
		}
		if _, err := in.ReadByte(); err == nil || err == io.EOF {
			t.Errorf("the leg ended with %v, want a reset", err)
		}
	})
	a := connect(t, &Tunnel{HangTimeout: 50 * time.Millisecond, Fallback: Fallback{OnHang: true}}, d)
	for request, fallback := range map[string]bool{get("/"): true, post("/", "x"): false} {
		want := wire.Failure{Status: 504, Fallback: fallback, Text: "podstep: the debuggee did not answer within 50ms"}
		if o := a.ask(1, request); o.Failed == nil || *o.Failed != want || o.Err != nil {
			t.Errorf("got %v, want %+v", o, want)
		}
	}
	if got.Load() != 2 {
		t.Errorf("the debuggee got %d requests, want 2", got.Load())
	}
}

func TestADebuggeeThatIsStoppedDoesNotHang(t *testing.T) {
	inside, resume := make(chan struct{}), make(chan struct{})
	tn := &Tunnel{HangTimeout: 200 * time.Millisecond}
	a := connect(t, tn, served(t, func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-resume
		_, _ = io.WriteString(w, "late")
	}))
	stream, err := a.open(1, get("/"))
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.CloseWrite()
	tn.SetPaused(true)
	<-inside
	<-time.After(500 * time.Millisecond)
	close(resume)
	a.hear(stream).answered(t, "GET", "late")
}

func TestFallbackIsForWhatTwoServersMayHave(t *testing.T) {
	for _, c := range []struct {
		method, field    string
		plain, idemposes bool
	}{
		{"GET", "", true, true},
		{"HEAD", "", true, true},
		{"OPTIONS", "", true, true},
		{"TRACE", "", true, true},
		{"PUT", "", false, true},
		{"DELETE", "", false, true},
		{"POST", "", false, false},
		{"PATCH", "", false, false},
		{"get", "", false, false},
		{"CONNECT", "", false, false},
		{"POST", "idempotency-key: 7", false, true},
	} {
		r := requestOf(t, c.method, c.field)
		for idempotent, want := range map[bool]bool{false: c.plain, true: c.idemposes} {
			f := Fallback{OnExit: true, OnHang: true, Idempotent: idempotent}
			if f.closed(r).Fallback != want || f.hung(r, 0).Fallback != want {
				t.Errorf("%s %s idempotent=%v: want %v", c.method, c.field, idempotent, want)
			}
			if (Fallback{OnHang: true, Idempotent: idempotent}).closed(r).Fallback || (Fallback{OnExit: true, Idempotent: idempotent}).hung(r, 0).Fallback {
				t.Errorf("%s falls back though it may not", c.method)
			}
		}
	}
}

// TestTheEndLeavesAllToTheTarget : what waits and what comes, whatever the policy says; nobody is refused while a debugger stops its program to
// end it.
func TestTheEndLeavesAllToTheTarget(t *testing.T) {
	for _, pause := range []Pause{{}, {Policy: wire.PauseReject}, patient} {
		tn := &Tunnel{Pause: pause}
		d := served(t, various)
		a := connect(t, tn, d)
		tn.SetPaused(true)
		var group sync.WaitGroup
		if pause.Policy == wire.PauseHold {
			group.Go(func() {
				if o := a.ask(1, get("/a")); o.Refused == nil {
					t.Errorf("one that was held: %v, want it to go to the target", o)
				}
			})
			testkit.Eventually(t, "one is held", func() bool { return tn.Counts().Held == 1 })
		}
		tn.End()
		group.Wait()
		for i, stopped := range []bool{true, false} {
			tn.SetPaused(stopped)
			if o := a.ask(uint64(i+2), get("/a")); o.Refused == nil {
				t.Errorf("%s, stopped: %v: %v, want it to go to the target", pause.Policy, stopped, o)
			}
		}
		if n := d.conns.Load(); n != 0 {
			t.Errorf("%s: the debuggee got %d connections", pause.Policy, n)
		}
	}
}
