//go:build linux

package incoming

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

func TestServerThatSpeaksFirstIsNotWaitedFor(t *testing.T) {
	client := testpod.NewClient(t)
	l, err := net.Listen("tcp", testpod.Pod4+":80")
	if err != nil {
		t.Fatal(err)
	}
	serveEach(t, l, func(c net.Conn) {
		_, _ = io.WriteString(c, "220 target\r\n")
		line, _ := bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, "250 "+line)
	})
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) {
		if st.Header.Kind != wire.KindIncoming {
			t.Errorf("a stream of kind %s", st.Header.Kind)
		}
		_ = st.Opened(wire.Answer{})
		_, _ = io.WriteString(st, "220 debuggee\r\n")
		line, _ := bufio.NewReader(st).ReadString('\n')
		_, _ = io.WriteString(st, "250 "+line)
		_ = st.CloseWrite()
		_, _ = io.Copy(io.Discard, st)
		_ = st.Close()
	})
	for header, who := range map[string]string{"X-User: alice": "target", "": "debuggee"} {
		sub := f.stealRequests(t, header)
		c := talk(t, client)
		began := time.Now()
		if greeting, err := c.r.ReadString('\n'); err != nil || greeting != "220 "+who+"\r\n" {
			t.Errorf("greeting %q, %v", greeting, err)
		}
		t.Logf("the %s's greeting took %v", who, time.Since(began))
		c.send("HELO client\r\n")
		if answer, err := io.ReadAll(c.r); err != nil || string(answer) != "250 HELO client\r\n" {
			t.Errorf("answer %q, %v", answer, err)
		}
		_ = c.Close()
		if err := f.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClientThatWaitsIsStillAskedRequestByRequest(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) {
		if st.Header.Kind == wire.KindRequest {
			answerRequest(st)
			return
		}
		_ = st.Opened(wire.Answer{})
		_, _ = io.Copy(io.Discard, st)
		_ = st.Close()
	})
	for _, header := range []string{"X-User: alice", ""} {
		sub := f.stealRequests(t, header)
		c := talk(t, client)
		<-time.After(20 * time.Millisecond)
		c.ask(mine, "debuggee: GET /mine")
		if header != "" {
			c.ask(others, "target: GET /others")
		}
		if err := f.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
			t.Fatal(err)
		}
		c.ask(mine, "target: GET /mine")
		_ = c.Close()
	}
}

// switching answers an upgrade and then echoes.
func switching(who string, rw io.ReadWriter) {
	r := bufio.NewReader(rw)
	if _, err := http.ReadRequest(r); err != nil {
		return
	}
	_, _ = io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n"+who+" ")
	_, _ = io.Copy(rw, r)
}

func TestUpgradedConnectionIsPlainBytes(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\ntarget ")
		_, _ = io.Copy(c, rw)
	})
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		_ = wire.WriteFrame(st, wire.Outcome{}, nil)
		switching("debuggee", st)
		_ = st.CloseWrite()
		_ = st.Close()
	})
	f.stealRequests(t, "X-User: alice")
	for header, who := range map[string]string{"X-User: alice\r\n": "debuggee", "": "target"} {
		c := talk(t, client)
		c.send("GET /chat HTTP/1.1\r\nHost: shop\r\nConnection: upgrade\r\nUpgrade: echo\r\n" + header + "\r\n")
		res, err := http.ReadResponse(c.r, nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%s: %v, %v", who, res, err)
		}
		c.send("GET / HTTP/1.1\r\nHost: no request any more\r\n\r\n")
		_ = c.CloseWrite()
		text, err := io.ReadAll(c.r)
		if want := who + " GET / HTTP/1.1\r\nHost: no request any more\r\n\r\n"; err != nil || string(text) != want {
			t.Errorf("%q, %v, want %q", text, err, want)
		}
		_ = c.Close()
	}
}

func TestWhatCannotBeToldApartIsTheTargets(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) { t.Errorf("offered: %+v", st.Header); refuse(st) })
	f.stealRequests(t, "X-User: alice")
	l, err := net.Listen("tcp", testpod.Pod4+":80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for name, text := range map[string]string{
		"both lengths":    "POST / HTTP/1.1\r\nHost: a\r\nX-User: alice\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + mine,
		"a bare LF":       "GET / HTTP/1.1\nHost: a\nX-User: alice\n\n" + mine,
		"a folded field":  "GET / HTTP/1.1\r\nHost: a\r\nX-User: bob\r\n alice\r\n\r\n" + mine,
		"space and colon": "GET / HTTP/1.1\r\nHost: a\r\nX-User : alice\r\n\r\n" + mine,
		"two lengths":     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd" + mine,
		"TLS":             "\x16\x03\x01\x00\x05hello" + mine,
		"HTTP/2":          "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + mine,
		"no HTTP":         "hello\r\n" + mine,
		"long head":       "GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + strings.Repeat("z", 70<<10) + "\r\nX-User: alice\r\n\r\n" + mine,
	} {
		c := talk(t, client)
		go func() { _, _ = io.WriteString(c, text) }()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = server.SetDeadline(time.Now().Add(10 * time.Second))
		got := make([]byte, len(text))
		if _, err := io.ReadFull(server, got); err != nil || string(got) != text {
			t.Errorf("%s: the target got %.200q, %v", name, got, err)
		}
		_, _ = io.WriteString(server, "anything")
		_ = server.Close()
		if answer, err := io.ReadAll(c.r); err != nil || string(answer) != "anything" {
			t.Errorf("%s: the client got %q, %v", name, answer, err)
		}
		_ = c.Close()
	}
}

// TestClientThatWaitsToSendItsBodyIsNotKeptWaiting : a filter that would look into the body cannot, and the target says whether it wants it.
func TestClientThatWaitsToSendItsBodyIsNotKeptWaiting(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) { t.Errorf("offered: %+v", st.Header); refuse(st) })
	f.subscribe(t, wire.SubscribeParams{Port: 80, Mode: wire.ModeSteal, Requests: true, Filter: []byte(`{"json": {"user": "alice"}}`)})
	c := talk(t, client)
	began := time.Now()
	c.send("POST /a HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: 16\r\nExpect: 100-continue\r\n\r\n")
	if status, _ := c.receive("POST"); status != http.StatusContinue {
		t.Errorf("status %d, want 100", status)
	}
	if took := time.Since(began); took > bodyPatience/2 {
		t.Errorf("the client was told to go on after %v", took)
	}
	c.send(`{"user":"alice"}`)
	if _, body := c.receive("POST"); !strings.HasPrefix(body, "target: POST /a 16") {
		t.Errorf("answered by %q", body)
	}
}
