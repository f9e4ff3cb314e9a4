package tunnel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// various answers in the ways that a response can end.
func various(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/empty":
		w.WriteHeader(http.StatusNoContent)
	case "/chunked":
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "part %d\n", i)
			_ = http.NewResponseController(w).Flush()
		}
	case "/large":
		_, _ = w.Write(large)
	case "/close":
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "last")
	default:
		_, _ = fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, len(body))
	}
}

var large = bytes.Repeat([]byte("0123456789abcdef"), 64<<10)

func TestRequestsOfAClientShareALeg(t *testing.T) {
	d := served(t, various)
	a := connect(t, &Tunnel{}, d)
	for _, c := range []struct{ method, request, want string }{
		{"GET", get("/a"), "GET /a 0"},
		{"HEAD", "HEAD /a HTTP/1.1\r\nHost: web\r\n\r\n", ""},
		{"GET", get("/empty"), ""},
		{"GET", get("/chunked"), "part 0\npart 1\npart 2\n"},
		{"GET", get("/large"), string(large)},
		{"POST", post("/b", string(large)), "POST /b 1048576"},
		{"POST", "POST /c HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "POST /c 3"},
		{"GET", get("/a"), "GET /a 0"},
	} {
		a.ask(1, c.request).answered(t, c.method, c.want)
	}
	if n := d.conns.Load(); n != 1 {
		t.Errorf("the debuggee saw %d connections, want 1", n)
	}
	a.ask(2, get("/a")).answered(t, "GET", "GET /a 0")
	if n := d.conns.Load(); n != 2 {
		t.Errorf("the debuggee saw %d connections of two clients, want 2", n)
	}
}

func TestALegEndsWhenEitherSideSaysSo(t *testing.T) {
	for name, request := range map[string]string{
		"the debuggee": get("/close"),
		"the client":   "GET /a HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n",
		"HTTP/1.0":     "GET /a HTTP/1.0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := served(t, various)
			a := connect(t, &Tunnel{}, d)
			for range 2 {
				if o := a.ask(1, request); o.Err != nil || !strings.HasPrefix(o.Response, "HTTP/1.") {
					t.Error(o)
				}
			}
			if n := d.conns.Load(); n != 2 {
				t.Errorf("the debuggee saw %d connections, want 2", n)
			}
		})
	}
}

func TestResponsesPassByteForByte(t *testing.T) {
	for name, c := range map[string]struct {
		response string
		closes   bool
		conns    int64
	}{
		"length":             {"HTTP/1.1 200 fine\r\nx-ODD:  case \r\nContent-Length: 2\r\n\r\nok", false, 1},
		"until close":        {"HTTP/1.1 200 OK\r\n\r\nall of it", true, 2},
		"trailer":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nSum: 1\r\n\r\n", false, 1},
		"interim":            {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", false, 1},
		"two lengths":        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", true, 2},
		"length and chunked": {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", true, 2},
		"malformed chunk":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size", true, 2},
		"not HTTP":           {"SSH-2.0-x\r\n", true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
				for {
					if _, err := readRequest(in); err != nil {
						return
					}
					// In pieces, so that a head is seen in parts.
					for i := range len(c.response) {
						if _, err := io.WriteString(conn, c.response[i:i+1]); err != nil {
							t.Error(err)
						}
					}
					if c.closes {
						return
					}
				}
			})
			a := connect(t, &Tunnel{}, d)
			for range 2 {
				if o := a.ask(1, get("/")); o.Response != c.response || o.Err != nil {
					t.Errorf("got %v, want %q", o, c.response)
				}
			}
			if n := d.conns.Load(); n != c.conns {
				t.Errorf("the debuggee saw %d connections, want %d", n, c.conns)
			}
		})
	}
}

func TestMoreThanAResponseEndsTheLeg(t *testing.T) {
	d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
		for {
			if _, err := readRequest(in); err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		}
	})
	a := connect(t, &Tunnel{}, d)
	for range 2 {
		a.ask(1, get("/")).answered(t, "GET", "ok")
	}
	if n := d.conns.Load(); n != 2 {
		t.Errorf("the debuggee saw %d connections, want 2", n)
	}
}

func TestALegThatTheDebuggeeEndedIsReplaced(t *testing.T) {
	over := make(chan struct{}, 1)
	var got atomic.Int64
	d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
		if _, err := readRequest(in); err == nil {
			got.Add(1)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		_ = conn.Close()
		over <- struct{}{}
	})
	a := connect(t, &Tunnel{}, d)
	for range 20 {
		a.ask(1, post("/", "x")).answered(t, "POST", "ok")
		<-over
	}
	if got.Load() != 20 || d.conns.Load() != 20 {
		t.Errorf("%d requests over %d connections, want 20 over 20", got.Load(), d.conns.Load())
	}
}

func TestADroppedRequestIsNeverDeliveredAgain(t *testing.T) {
	for _, reset := range []bool{false, true} {
		var got atomic.Int64
		d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
			if _, err := readRequest(in); err == nil {
				got.Add(1)
			}
			if reset {
				_ = conn.SetLinger(0)
			}
		})
		a := connect(t, &Tunnel{Fallback: Fallback{OnExit: true}}, d)
		for i, c := range []struct {
			request  string
			fallback bool
		}{{get("/"), true}, {post("/", "x"), false}, {"PUT / HTTP/1.1\r\nHost: a\r\n\r\n", false}} {
			o := a.ask(1, c.request)
			want := wire.Failure{Status: 502, Fallback: c.fallback, Text: "podstep: the debuggee closed the connection without an answer"}
			if o.Refused != nil || o.Err != nil || o.Failed == nil || *o.Failed != want {
				t.Errorf("got %v, want %+v", o, want)
			}
			if got.Load() != int64(i+1) {
				t.Errorf("the debuggee got %d requests, want %d", got.Load(), i+1)
			}
		}
	}
}

func TestAnEndInTheMidstOfAResponseIsAReset(t *testing.T) {
	for _, part := range []string{"HTTP/1.1 2", "HTTP/1.1 103 Early\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"} {
		d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
			_, _ = readRequest(in)
			_, _ = io.WriteString(conn, part)
		})
		a := connect(t, &Tunnel{}, d)
		if o := a.ask(1, get("/")); o.Response != part || !errors.Is(o.Err, syscall.ECONNRESET) {
			t.Errorf("got %v, want %q and a reset", o, part)
		}
	}
}

func TestARefusedDialIsARefusal(t *testing.T) {
	l := listen(t)
	_ = l.Close()
	a := connect(t, &Tunnel{}, &debuggee{addr: l.Addr().String()})
	for range 2 {
		if o := a.ask(1, get("/")); !errors.Is(o.Refused, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want ECONNREFUSED", o)
		}
	}
}

func TestWhatIsNoRequestIsRefused(t *testing.T) {
	d := served(t, various)
	a := connect(t, &Tunnel{}, d)
	for _, sent := range []string{"\x16\x03\x01", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/2.0\r\n\r\n"} {
		if o := a.ask(1, sent); !errors.Is(o.Refused, syscall.EINVAL) {
			t.Errorf("%q: %v, want EINVAL", sent, o)
		}
	}
	if n := d.conns.Load(); n != 0 {
		t.Errorf("the debuggee saw %d connections, want none", n)
	}
}

func TestAnEarlyAnswerDoesNotWaitForTheRequest(t *testing.T) {
	rest := make(chan int64, 1)
	d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		n, _ := io.Copy(io.Discard, r.Body)
		rest <- n
		if _, err := readRequest(in); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
		}
	})
	a := connect(t, &Tunnel{}, d)
	stream, err := a.open(1, "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1048576\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	a.hear(stream).answered(t, "POST", "no")
	if _, err := stream.Write(large); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n := <-rest; n != 1<<20 {
		t.Errorf("the debuggee got %d bytes of the body, want all", n)
	}
	a.ask(1, get("/")).answered(t, "GET", "next")
	if n := d.conns.Load(); n != 1 {
		t.Errorf("the debuggee saw %d connections, want 1: the request was written to its end", n)
	}
}

func TestARequestThatTheDebuggeeDoesNotReadIsDrained(t *testing.T) {
	d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
			_ = conn.CloseWrite()
			_, _ = io.CopyN(io.Discard, in, 100<<10)
		}
	})
	a := connect(t, &Tunnel{}, d)
	for range 2 {
		a.ask(1, post("/", strings.Repeat(string(large), 8))).answered(t, "POST", "no")
	}
}

func TestAStreamOfEventsIsPassedAsItComes(t *testing.T) {
	next := make(chan struct{})
	d := served(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	a := connect(t, &Tunnel{}, d)
	stream, err := a.open(1, get("/events"))
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.CloseWrite()
	body := bufio.NewReader(a.reader(stream, "GET").Body)
	for i := range 3 {
		if line, err := body.ReadString('\n'); line != fmt.Sprintf("data: %d\n", i) {
			t.Errorf("got %q, %v", line, err)
		}
		_, _ = body.ReadString('\n')
		next <- struct{}{}
	}
	if _, err := body.ReadByte(); err != io.EOF {
		t.Errorf("after the last event: %v", err)
	}
}

func TestTheDebuggeeMayAskForTheBody(t *testing.T) {
	a := connect(t, &Tunnel{}, served(t, various))
	stream, err := a.open(1, "POST /b HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	var first wire.Outcome
	if err := wire.ReadFrame(stream, &first); err != nil {
		t.Fatal(err)
	}
	const interim = "HTTP/1.1 100 Continue\r\n\r\n"
	b := make([]byte, len(interim))
	if _, err := io.ReadFull(stream, b); err != nil || string(b) != interim {
		t.Fatalf("got %q, %v", b, err)
	}
	_, _ = io.WriteString(stream, "body")
	_ = stream.CloseWrite()
	all, err := io.ReadAll(stream)
	outcome{Response: string(all), Err: err}.answered(t, "POST", "POST /b 4")
}

func TestAnotherProtocolRunsBothWays(t *testing.T) {
	for _, c := range []struct{ method, request, response string }{
		{"GET", "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"},
		{"CONNECT", "CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"},
	} {
		t.Run(c.method, func(t *testing.T) {
			d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				_, _ = io.WriteString(conn, c.response+"hi ")
				_, _ = io.Copy(conn, in)
				_, _ = io.WriteString(conn, " bye")
			})
			a := connect(t, &Tunnel{}, d)
			stream, err := a.open(1, c.request)
			if err != nil {
				t.Fatal(err)
			}
			var first wire.Outcome
			if err := wire.ReadFrame(stream, &first); err != nil {
				t.Fatal(err)
			}
			head := make([]byte, len(c.response))
			if _, err := io.ReadFull(stream, head); err != nil || string(head) != c.response {
				t.Fatalf("got %q, %v", head, err)
			}
			var group sync.WaitGroup
			group.Go(func() { _, _ = stream.Write(large); _ = stream.CloseWrite() })
			got, err := io.ReadAll(stream)
			group.Wait()
			if want := "hi " + string(large) + " bye"; err != nil || string(got) != want {
				t.Errorf("%d bytes came back, %v, want %d", len(got), err, len(want))
			}
		})
	}
}

func TestTheEndOfAClientEndsItsLeg(t *testing.T) {
	for _, busy := range []bool{false, true} {
		ended := make(chan error, 1)
		asked := make(chan struct{})
		d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
			if _, err := readRequest(in); err != nil {
				return
			}
			close(asked)
			if !busy {
				_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			}
			_, err := in.ReadByte()
			ended <- err
		})
		a := connect(t, &Tunnel{}, d)
		stream, err := a.open(7, get("/"))
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.CloseWrite()
		<-asked
		if !busy {
			a.hear(stream)
		}
		a.clients.Closed(t.Context(), 7)
		if err := <-ended; err != io.EOF {
			t.Errorf("busy=%v: the debuggee read %v, want EOF as of a client that closes", busy, err)
		}
	}
}

func TestTheEndOfAClientMayOvertakeItsRequest(t *testing.T) {
	d := served(t, various)
	a := connect(t, &Tunnel{}, d)
	a.clients.Closed(t.Context(), 3)
	a.ask(3, get("/")).answered(t, "GET", "GET / 0")
	testkit.Eventually(t, "the client is forgotten", func() bool {
		a.clients.mu.Lock()
		defer a.clients.mu.Unlock()
		return len(a.clients.byNumber) == 0
	})
}

// TestClientThatHasNoMoreToSayIsAnswered : the debuggee sees the end of the connection, as of any client that closes its half, and answers.
func TestClientThatHasNoMoreToSayIsAnswered(t *testing.T) {
	asked := make(chan struct{})
	d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
		if _, err := readRequest(in); err != nil {
			return
		}
		close(asked)
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("the debuggee read %v, want EOF", err)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
	})
	a := connect(t, &Tunnel{}, d)
	stream, err := a.open(3, get("/"))
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.CloseWrite()
	<-asked
	a.clients.Closed(t.Context(), 3)
	a.hear(stream).answered(t, "GET", "late")
}

func TestTheEndOfTheLinkEndsLegs(t *testing.T) {
	ended, busy := make(chan error, 2), make(chan struct{})
	d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
		r, err := readRequest(in)
		if err == nil && r.URL.Path == "/idle" {
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		}
		if err == nil && r.URL.Path == "/busy" {
			close(busy)
		}
		_, err = in.ReadByte()
		ended <- err
	})
	tn := &Tunnel{}
	a := connect(t, tn, d)
	a.ask(1, get("/idle")).answered(t, "GET", "")
	if _, err := a.open(2, get("/busy")); err != nil {
		t.Fatal(err)
	}
	<-busy
	_ = a.Close()
	// The busy one's stream is reset, and so is its leg.
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the busy leg ended with %v, want a reset", err)
	}
}
