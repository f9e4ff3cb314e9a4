package tunnel

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

func requestOf(t *testing.T, method, field string) *http1.Request {
	t.Helper()
	target := "/"
	if method == "CONNECT" {
		target = "a:1"
	}
	head := method + " " + target + " HTTP/1.1\r\nHost: a:1\r\n"
	if field != "" {
		head += field + "\r\n"
	}
	r, err := http1.ParseRequest([]byte(head + "\r\n"))
	if err != nil || r == nil {
		t.Fatalf("%q: %v", head, err)
	}
	return r
}

func TestRequestsAreRecorded(t *testing.T) {
	recorder := &tapes{}
	tn := &Tunnel{Recorder: recorder, Pause: Pause{Policy: wire.PauseReject}, Fallback: Fallback{OnExit: true}}
	d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
		for {
			if r, err := readRequest(in); err != nil || r.URL.Path == "/drop" {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	a := connect(t, tn, d)
	const ok, dropped = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "podstep: the debuggee closed the connection without an answer"
	upload := post("/", string(large))
	for _, request := range []string{get("/"), upload, get("/drop"), post("/drop", "x")} {
		a.ask(1, request)
	}
	tn.SetPaused(true)
	a.ask(1, post("/", "no"))
	tn.SetPaused(false)
	d.addr = "127.0.0.1:1"
	a.ask(2, get("/nobody"))
	want := []struct {
		Request, Response string
		Went              []string
	}{
		{get("/"), ok, []string{"debuggee: "}},
		{upload, ok, []string{"debuggee: "}},
		{get("/drop"), "", []string{"debuggee: ", "target: " + dropped}},
		{post("/drop", "x"), "", []string{"debuggee: ", "nobody: " + dropped}},
		{post("/", "no"), "503", []string{"nobody: rejected: the debugger is stopped"}},
		{get("/nobody"), "", []string{"target: dial tcp 127.0.0.1:1: connect: connection refused (connection refused)"}},
	}
	list := recorder.all()
	if len(list) != len(want) {
		t.Fatalf("%d requests are recorded, want %d", len(list), len(want))
	}
	for i, p := range list {
		testkit.Eventually(t, "its record ends", p.done)
		if p.header.Request != uint64(i+1) || p.err != nil || string(p.request) != want[i].Request {
			t.Errorf("%d: request %d, %d bytes, %v", i, p.header.Request, len(p.request), p.err)
		}
		if diff := cmp.Diff(want[i].Went, p.went); diff != "" {
			t.Errorf("%d went (-want +got):\n%s", i, diff)
		}
		if delivered := slices.Contains(p.went, "debuggee: "); delivered != slices.Equal(p.seen, []seen{{p.header.From, 0}}) || !delivered && len(p.seen) > 0 {
			t.Errorf("%d: seen as %v, came from %v and went %q", i, p.seen, p.header.From, p.went)
		}
		if got := string(p.response); got != want[i].Response && (want[i].Response != "503" || !strings.HasPrefix(got, "HTTP/1.1 503 ")) {
			t.Errorf("%d: response %q, want %q", i, got, want[i].Response)
		}
	}
}

func TestReplayIsARequestOfItsOwn(t *testing.T) {
	d := served(t, various)
	var asked []delivery
	tn := &Tunnel{Ports: map[uint16]uint16{80: 8080}}
	tn.Deliver = func(ctx context.Context, port uint16, from, to netip.AddrPort) (splice.Conn, error) {
		asked = append(asked, delivery{port, from, to})
		return d.deliver(ctx, port, from, to)
	}
	tn.SetPaused(true) // whoever replays knows
	for range 2 {
		var p tape
		if err := tn.Replay(t.Context(), 80, []byte(post("/b", string(large))), &p); err != nil {
			t.Fatal(err)
		}
		outcome{Response: string(p.response)}.answered(t, "POST", "POST /b 1048576")
		if !p.ended || p.err != nil || !cmp.Equal(p.went, []string{"debuggee: "}) {
			t.Errorf("recorded %v, ended=%v, %v", p.went, p.ended, p.err)
		}
		if last := asked[len(asked)-1]; !slices.Equal(p.seen, []seen{{last.From, 0}}) {
			t.Errorf("seen as %v, came from %v", p.seen, last.From)
		}
	}
	if err := tn.Replay(t.Context(), 80, []byte(get("/")), nil); err != nil {
		t.Error(err)
	}
	for i, got := range asked {
		if got.Port != 8080 || !got.From.Addr().IsLoopback() || got.To.String() != "127.0.0.1:80" || i > 0 && got.From == asked[i-1].From {
			t.Errorf("delivered %+v", got)
		}
	}
	if len(asked) != 3 || d.conns.Load() != 3 {
		t.Errorf("%d deliveries over %d connections", len(asked), d.conns.Load())
	}
}

func TestReplayFails(t *testing.T) {
	drops := raw(t, func(_ *net.TCPConn, in *bufio.Reader) { _, _ = readRequest(in) })
	cut := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
		_, _ = readRequest(in)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
	})
	for name, c := range map[string]struct {
		d       *debuggee
		request string
		is      error
	}{
		"nobody listens": {&debuggee{addr: "127.0.0.1:1"}, get("/"), syscall.ECONNREFUSED},
		"no answer":      {drops, get("/"), nil},
		"half an answer": {cut, get("/"), io.ErrUnexpectedEOF},
		"half a request": {drops, "GET / HTTP/1.1\r\n", nil},
		"no request":     {drops, "\x16\x03\x01", http1.ErrNotHTTP},
	} {
		tn := &Tunnel{Deliver: c.d.deliver}
		var p tape
		if err := tn.Replay(t.Context(), 80, []byte(c.request), &p); err == nil || c.is != nil && !errors.Is(err, c.is) || !p.ended || p.err == nil {
			t.Errorf("%s: %v, recorded %v", name, err, p.err)
		}
	}
}

func TestReplayEndsWithItsContext(t *testing.T) {
	inside := make(chan struct{})
	d := served(t, func(_ http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done()
	})
	tn := &Tunnel{Deliver: d.deliver}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no longer wanted")
	go func() { <-inside; cancel(why) }()
	if err := tn.Replay(ctx, 80, []byte(get("/")), nil); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
}
