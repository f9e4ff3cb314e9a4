package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

func TestADebuggeeWithoutHTTP2LeavesRequestsToTheTarget(t *testing.T) {
	for name, d := range map[string]*debuggee{
		"HTTP/1":  served(t, various),
		"nothing": {addr: "127.0.0.1:1"},
	} {
		var told atomic.Int64
		tn := &Tunnel{NotHTTP2: func(port uint16, _ error) { told.Add(int64(port)) }}
		a := connect(t, tn, d)
		want := map[string]syscall.Errno{"HTTP/1": syscall.EPROTO, "nothing": syscall.ECONNREFUSED}[name]
		if o := a.askH2(1, h2request("POST", "/"), []byte("x")); !errors.Is(o.Refused, want) {
			t.Errorf("%s: %v, want it refused with %v", name, o, want)
		}
		if told.Load() != map[string]int64{"HTTP/1": 80}[name] {
			t.Errorf("%s: told of port %d", name, told.Load())
		}
	}
}

func TestResponsesOfHTTP2ComeWhole(t *testing.T) {
	d := rawH2(t, func(p *h2peer) {
		for r := p.request(); r != nil; r = p.request() {
			p.say(r.StreamID, false, ":status", "103", "link", "x")
			p.say(r.StreamID, false, ":status", "200", "b", "1", "a", "2", "b", "3")
			_ = p.WriteDataPadded(r.StreamID, false, []byte("ok"), make([]byte, 9))
			p.say(r.StreamID, true, "sum", "7")
		}
	})
	o := connect(t, &Tunnel{}, d).askH2(1, h2request("POST", "/"), []byte("x"))
	if got := fmt.Sprint(o.Heads, string(o.Body), o.Err); got != fmt.Sprint(
		[]any{h2.Fields(":status", "103", "link", "x"), h2.Fields(":status", "200", "b", "1", "a", "2", "b", "3"), h2.Fields("sum", "7")}, "ok", error(nil)) {
		t.Errorf("got %v", o)
	}
}

func TestTheClientsResetReachesTheDebuggee(t *testing.T) {
	codes := make(chan http2.ErrCode, 3)
	d := rawH2(t, func(p *h2peer) {
		for f := p.next(); f != nil; f = p.next() {
			if f, ok := f.(*http2.RSTStreamFrame); ok {
				codes <- f.ErrCode
			}
		}
	})
	a := connect(t, &Tunnel{}, d)
	// In the midst of the request, with a code.
	stream, err := a.openH2(1, h2request("POST", "/"), []byte("x"), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := h2.NewWriter(stream).Reset(http2.ErrCodeEnhanceYourCalm); err != nil {
		t.Fatal(err)
	}
	stream.Reset()
	if code := <-codes; code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("the debuggee got %v", code)
	}
	// Behind the request.
	if stream, err = a.openH2(1, h2request("GET", "/"), nil, true); err != nil {
		t.Fatal(err)
	}
	stream.Reset()
	if code := <-codes; code != http2.ErrCodeCancel {
		t.Errorf("the debuggee got %v", code)
	}
	if n := d.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestTheDebuggeesEnds(t *testing.T) {
	// What it does with a request to each path.
	serve := func(p *h2peer) {
		for r := p.request(); r != nil; r = p.request() {
			switch path := r.PseudoValue("path"); path {
			case "/close":
				return
			case "/reset":
				_ = p.WriteRSTStream(r.StreamID, http2.ErrCodeInternal)
			case "/refuse":
				_ = p.WriteRSTStream(r.StreamID, http2.ErrCodeRefusedStream)
			case "/half-reset", "/half-close":
				p.say(r.StreamID, false, ":status", "200")
				_ = p.WriteData(r.StreamID, false, []byte("half"))
				if path == "/half-close" {
					return
				}
				_ = p.WriteRSTStream(r.StreamID, http2.ErrCodeEnhanceYourCalm)
			case "/odd":
				p.say(r.StreamID, false, "no-status", "1")
			default:
				p.say(r.StreamID, true, ":status", "204")
			}
		}
	}
	a := connect(t, &Tunnel{Fallback: Fallback{OnExit: true}}, rawH2(t, serve))
	for _, c := range []struct {
		method, path string
		fallback     bool
		text         string
	}{
		{"GET", "/close", true, "closed the connection"},
		{"POST", "/close", false, "closed the connection"},
		{"GET", "/reset", true, "INTERNAL_ERROR"},
		{"POST", "/reset", false, "INTERNAL_ERROR"},
		{"POST", "/refuse", true, "unprocessed"},
		{"POST", "/odd", false, "without an answer"},
	} {
		o := a.askH2(1, h2request(c.method, c.path), []byte("x"))
		if o.Failed == nil || o.Failed.Status != 502 || o.Failed.Fallback != c.fallback || !strings.Contains(o.Failed.Text, c.text) {
			t.Errorf("%s %s: %v", c.method, c.path, o)
		}
		a.askH2(1, h2request("GET", "/"), nil).answered(t, "204", "")
	}
	for path, want := range map[string]http2.ErrCode{"/half-reset": http2.ErrCodeEnhanceYourCalm, "/half-close": http2.ErrCodeInternal} {
		o := a.askH2(2, h2request("GET", path), nil)
		var reset *h2.ResetError
		if !errors.As(o.Err, &reset) || reset.Code != want || string(o.Body) != "half" {
			t.Errorf("%s: %v, want it reset with %v", path, o, want)
		}
	}
}

func TestAGoodbyeLetsStreamsEnd(t *testing.T) {
	var second atomic.Bool
	d := rawH2(t, func(p *h2peer) {
		if second.Swap(true) {
			for r := p.request(); r != nil; r = p.request() {
				p.say(r.StreamID, true, ":status", "204")
			}
			return
		}
		served := p.request().StreamID
		_ = p.request()
		_ = p.WriteGoAway(served, http2.ErrCodeNo, nil)
		p.say(served, true, ":status", "200")
		_ = p.next()
	})
	a := connect(t, &Tunnel{}, d)
	var group sync.WaitGroup
	got := make(chan string, 2)
	for range 2 {
		group.Go(func() {
			o := a.askH2(1, h2request("POST", "/"), nil)
			got <- o.value(":status")
			if o.Failed != nil || o.Refused != nil {
				t.Error(o)
			}
		})
	}
	testkit.Eventually(t, "the second connection", func() bool { return d.conns.Load() == 2 })
	a.askH2(1, h2request("POST", "/"), []byte("x")).answered(t, "204", "")
	group.Wait()
	if first, second := <-got, <-got; first+second != "200204" && first+second != "204200" {
		t.Errorf("answers %s and %s", first, second)
	}
}

func TestARestartedDebuggeeGetsTheNextRequest(t *testing.T) {
	d := servedH2(t, variousH2)
	tn := &Tunnel{}
	a := connect(t, tn, d)
	for range 3 {
		a.askH2(1, h2request("GET", "/a"), nil).answered(t, "200", "HTTP/2.0 GET /a 0 <nil>")
		d.stop()
		next := servedH2(t, variousH2)
		d.addr, d.stop = next.addr, next.stop
	}
}

func TestTheDebuggeesLimitOfStreams(t *testing.T) {
	var now, most atomic.Int64
	d := servedH2(t, func(w http.ResponseWriter, _ *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		<-time.After(10 * time.Millisecond) // so that there are several at once
		now.Add(-1)
		w.WriteHeader(204)
	}, 2)
	a := connect(t, &Tunnel{}, d)
	a.askH2(1, h2request("GET", "/"), nil).answered(t, "204", "")
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() { a.askH2(1, h2request("GET", "/"), nil).answered(t, "204", "") })
	}
	group.Wait()
	if most.Load() > 2 || d.conns.Load() != 1 {
		t.Errorf("%d at once over %d connections", most.Load(), d.conns.Load())
	}
}

// TestWhoDoesNotReadStopsNobodyElse has a client, and then a debuggee, that reads nothing of something long.
func TestWhoDoesNotReadStopsNobodyElse(t *testing.T) {
	var written atomic.Int64
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	release := make(chan struct{})
	d := servedH2(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/download":
			for range 512 { // 32 MiB
				if _, err := w.Write(chunk); err != nil {
					return
				}
				written.Add(int64(len(chunk)))
			}
		case "/upload":
			<-release
			_, _ = io.Copy(io.Discard, r.Body)
		default:
			variousH2(w, r)
		}
	})
	a := connect(t, &Tunnel{}, d)
	for range 3 {
		down, err := a.openH2(1, h2request("GET", "/download"), nil, true)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = down.Close() }()
	}
	var sent atomic.Int64
	up, err := a.openH2(1, h2request("POST", "/upload"), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() {
		w := h2.NewWriter(up)
		for range 256 { // 16 MiB
			if err := w.Data(chunk, false); err != nil {
				over <- err
				return
			}
			sent.Add(int64(len(chunk)))
		}
		over <- errors.Join(w.Data(nil, true), up.CloseWrite())
	}()
	settled := func() bool {
		was := written.Load() + sent.Load()
		<-time.After(100 * time.Millisecond) // to see whether anything moves
		return was == written.Load()+sent.Load() && was > 0
	}
	testkit.Eventually(t, "both stand still", settled)
	for range 5 {
		a.askH2(1, h2request("POST", "/b"), make([]byte, 100_000)).answered(t, "200", "HTTP/2.0 POST /b 100000 <nil>")
	}
	// Each download: the stream's window here, the link's, and what net/http and the kernel buffer.
	if w, s := written.Load(), sent.Load(); w > 3*(3<<20) || s > 4<<20 {
		t.Errorf("%d bytes written ahead, %d sent ahead", w, s)
	}
	t.Logf("ahead: %d bytes of 3 responses, %d of the request", written.Load(), sent.Load())
	close(release)
	if o := hearH2(up); o.value(":status") != "200" {
		t.Error(o)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

func TestAnEarlyAnswerEndsTheRequest(t *testing.T) {
	d := servedH2(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) })
	a := connect(t, &Tunnel{}, d)
	stream, err := a.openH2(1, h2request("POST", "/"), []byte("the beginning"), false)
	if err != nil {
		t.Fatal(err)
	}
	o := hearH2(stream)
	var reset *h2.ResetError
	if o.value(":status") != "403" || !errors.As(o.Err, &reset) || reset.Code != http2.ErrCodeNo {
		t.Error(o)
	}
	_ = stream.Close()
}

func TestPausesOfHTTP2(t *testing.T) {
	tn := &Tunnel{Pause: Pause{Policy: wire.PauseReject}}
	d := servedH2(t, variousH2)
	a := connect(t, tn, d)
	tn.SetPaused(true)
	a.askH2(1, h2request("POST", "/"), make([]byte, 40_000)).answered(t, "503", rejection)
	a.askH2(1, h2request("HEAD", "/"), nil).answered(t, "503", "")
	for _, body := range [][]byte{nil, []byte("\x00\x00\x00\x00\x01x"), make([]byte, 200_000)} {
		o := a.askH2(1, h2request("POST", "/shop.Cart/Get", "content-type", "application/grpc+proto"), body)
		if o.value(":status") != "200" || o.value("grpc-status") != "14" || !strings.Contains(o.value("grpc-message"), "breakpoint") || len(o.Body) > 0 {
			t.Errorf("rejected gRPC: %v", o)
		}
	}
	tn.Pause = patient
	held := make(chan h2outcome, 1)
	go func() { held <- a.askH2(1, h2request("POST", "/a"), []byte("xy")) }()
	testkit.Eventually(t, "it is held", func() bool { return tn.Counts().Held == 1 })
	// Another one is given up meanwhile.
	stream, err := a.Begin(t.Context(), wire.Header{Kind: wire.KindRequest, Port: 80, From: from, To: to, Connection: 1, Request: 99, Protocol: wire.HTTP2}, begin(t, h2request("GET", "/")))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "two are held", func() bool { return tn.Counts().Held == 2 })
	stream.Reset()
	testkit.Eventually(t, "one is held", func() bool { return tn.Counts().Held == 1 })
	tn.SetPaused(false)
	o := <-held
	o.answered(t, "200", "HTTP/2.0 POST /a 2 <nil>")
	tn.Pause = Pause{}
	tn.SetPaused(true)
	if o := a.askH2(1, h2request("GET", "/"), nil); !(outcome{Refused: o.Refused}).isPaused() {
		t.Errorf("while stopped: %v", o)
	}
}

func TestAHangOfHTTP2IsGivenUp(t *testing.T) {
	ended := make(chan struct{}, 2)
	d := servedH2(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		ended <- struct{}{}
	})
	a := connect(t, &Tunnel{HangTimeout: 50 * time.Millisecond, Fallback: Fallback{OnHang: true}}, d)
	for method, fallback := range map[string]bool{"GET": true, "POST": false} {
		o := a.askH2(1, h2request(method, "/"), nil)
		if o.Failed == nil || o.Failed.Status != 504 || o.Failed.Fallback != fallback {
			t.Errorf("%s: %v", method, o)
		}
		<-ended
	}
}
