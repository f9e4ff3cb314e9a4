//go:build linux

package incoming

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/authority"
	"podstep.dev/internal/wire"
)

func TestClientThatDoesNotTrustIsCounted(t *testing.T) {
	client := testpod.NewClient(t)
	a, dev := authority.New(t), authority.New(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("web", "web.test")}})
	dev.Issue("web", "web.test")
	told := &tally{}
	f := startFarEndWith(t, dev, told)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	b := browser(t, client, &tls.Config{RootCAs: a.Pool()})
	if status, body := get(t, b, "https://web.test/"); status != 0 || !strings.Contains(body, "certificate signed by unknown authority") {
		t.Errorf("%d %s", status, body)
	}
	told.expect(t, wire.UnreadTLSUntrusted, 1)
	f.freed(t)
}

// TestHalvesOfTLSEndAsTheOtherSideEnds : close_notify stays that, and a half that was cut stays cut.
func TestHalvesOfTLSEndAsTheOtherSideEnds(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	web := a.Issue("web", "web.test")
	type ending struct {
		text   string
		notice bool
		err    error
	}
	ends := func(c *tls.Conn, below *tapped) ending {
		text, err := io.ReadAll(c)
		return ending{string(text), !below.ended.Load(), err}
	}
	atTarget := make(chan ending, 1)
	notify := make(chan func(*tls.Conn, *net.TCPConn), 1)
	l := targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) {
		below := &tapped{TCPConn: c}
		server := tls.Server(below, &tls.Config{Certificates: []tls.Certificate{web}})
		atTarget <- ends(server, below)
		_, _ = io.WriteString(server, "bye")
		(<-notify)(server, c)
		_, _ = io.Copy(io.Discard, c)
	})
	defer func() { _ = l.Close() }()
	f := startFarEndWith(t, a, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	for name, end := range map[string]func(*tls.Conn, *net.TCPConn){
		"close_notify": func(c *tls.Conn, tcp *net.TCPConn) { _ = c.CloseWrite(); _ = tcp.CloseWrite() },
		"without":      func(_ *tls.Conn, tcp *net.TCPConn) { _ = tcp.CloseWrite() },
	} {
		notify <- end
		tcp := dial(t, client, testpod.Pod4+":80")
		below := &tapped{TCPConn: tcp}
		c := tls.Client(below, &tls.Config{ServerName: "web.test", RootCAs: a.Pool()})
		_, _ = io.WriteString(c, "\x00no HTTP")
		end(c, tcp)
		notice := name == "close_notify"
		if got := <-atTarget; got != (ending{"\x00no HTTP", notice, nil}) {
			t.Errorf("%s: the target has %+v", name, got)
		}
		if got := ends(c, below); got != (ending{"bye", notice, nil}) {
			t.Errorf("%s: the client has %+v", name, got)
		}
		_ = tcp.Close()
	}
}

// tapped says when its half ends.
type tapped struct {
	*net.TCPConn
	ended atomic.Bool
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if errors.Is(err, io.EOF) {
		c.ended.Store(true)
	}
	return n, err
}

func TestResetOverTLSIsAReset(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	web := a.Issue("web", "web.test")
	atTarget := make(chan error, 1)
	reset := make(chan bool, 1)
	l := targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) {
		server := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{web}})
		b := make([]byte, 64)
		_, _ = server.Read(b)
		if <-reset {
			_ = c.SetLinger(0)
			return
		}
		_, err := server.Read(b)
		atTarget <- err
	})
	defer func() { _ = l.Close() }()
	f := startFarEndWith(t, a, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	for _, target := range []bool{true, false} {
		tcp := dial(t, client, testpod.Pod4+":80")
		c := tls.Client(tcp, &tls.Config{ServerName: "web.test", RootCAs: a.Pool()})
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n")
		reset <- target
		if target {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client has %v", err)
			}
			continue
		}
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
		if err := <-atTarget; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the target has %v", err)
		}
	}
	f.freed(t)
}

func TestGarbageBehindTheHandshakeIsAnAlert(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("web", "web.test")}})
	f := startFarEndWith(t, a, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	tcp := dial(t, client, testpod.Pod4+":80")
	c := tls.Client(tcp, &tls.Config{ServerName: "web.test", RootCAs: a.Pool()})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	_, _ = tcp.Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)))
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("the client has %v", err)
	}
	f.freed(t)
}

// TestUnfinishedHandshakeIsTheTargets : as far as nothing was answered.
func TestUnfinishedHandshakeIsTheTargets(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	a.Issue("web", "web.test")
	atTarget := make(chan received, 1)
	l := targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) { atTarget <- readAll(c) })
	defer func() { _ = l.Close() }()
	told := &tally{}
	f := startFarEndWith(t, a, told)
	f.stealTLS(t, in("web"), "")
	for _, sent := range []string{"\x16\x03\x01\x00\x05\x01\x00\x00\x01x", "\x16\x03\x01\xff\xff", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		c := dial(t, client, testpod.Pod4+":80")
		_, _ = io.WriteString(c, sent)
		_ = c.CloseWrite()
		if got := <-atTarget; string(got.text) != sent || got.err != nil {
			t.Errorf("the target has %q, %v", got.text, got.err)
		}
		_ = c.Close()
	}
	told.expect(t, wire.UnreadTLS, 3)
	f.freed(t)
}

func TestHandshakeThatTakesTooLongEnds(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("web", "web.test")}})
	told := &tally{}
	f := startFarEndWith(t, a, told)
	f.stealTLS(t, in("web"), "X-User: alice")
	near, far := net.Pipe()
	c := tls.Client(far, &tls.Config{ServerName: "web.test"})
	go func() { _ = c.Handshake() }()
	hello := make([]byte, 4096)
	n, err := near.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	_ = near.Close()
	tcp := dial(t, client, testpod.Pod4+":80")
	began := time.Now()
	_, _ = tcp.Write(hello[:n])
	if _, err := io.Copy(io.Discard, tcp); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < handshakePatience-time.Second || took > handshakePatience+5*time.Second {
		t.Errorf("ended after %v", took)
	}
	told.expect(t, wire.UnreadTLSExpired, 1)
	f.freed(t)
}

func TestWholeConnectionOverTLSReachesTheDebuggee(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	web := a.Issue("web", "web.test")
	for _, with := range []bool{false, true} {
		if with {
			tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{web}})
		}
		f := startFarEndWith(t, a, nil)
		f.on(chat)
		sub := f.stealTLS(t, in("web"), "")
		c := tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test", RootCAs: a.Pool()})
		expect(t, c, "debuggee saw "+testpod.Client4)
		if h := f.seen()[0]; h.Kind != wire.KindIncoming || h.TLS == nil || h.TLS.ServerName != "web.test" {
			t.Errorf("header %+v", h)
		}
		_ = c.Close()
		if err := f.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUpgradeOverTLSGoesOn(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("web", "web.test")}, NextProtos: []string{"http/1.1"}})
	f := startFarEndWith(t, a, nil)
	f.on(func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		b := make([]byte, 4096)
		_, _ = st.Read(b)
		_ = wire.WriteFrame(st, wire.Outcome{}, []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
		_, _ = io.Copy(st, st)
		_ = st.CloseWrite()
		_ = st.Close()
	})
	f.stealTLS(t, in("web"), "X-User: alice")
	c := tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test", RootCAs: a.Pool()})
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: web.test\r\nX-User: alice\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	head := make([]byte, 4096)
	if n, err := c.Read(head); err != nil || !strings.HasPrefix(string(head[:n]), "HTTP/1.1 101") {
		t.Fatalf("%q, %v", head[:n], err)
	}
	want := randomBytes(1 << 20)
	go func() { _, _ = c.Write(want); _ = c.CloseWrite() }()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	_ = c.Close()
	testkit.Eventually(t, "memory given back", func() bool { return !f.opts.Memory.spent() })
}

// late is a client's connection on which everything is sent later.
type late struct {
	net.Conn
	by time.Duration
}

func (c late) Write(b []byte) (int, error) {
	<-time.After(c.by)
	return c.Conn.Write(b)
}

// TestDistantClientIsNotTakenForASilentOne : by TLS 1.2 its first bytes come a round trip after the handshake.
func TestDistantClientIsNotTakenForASilentOne(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	a.Issue("web", "web.test")
	f := startFarEndWith(t, a, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "")
	c := tls.Client(late{dial(t, client, testpod.Pod4+":80"), 50 * time.Millisecond}, &tls.Config{ServerName: "web.test", RootCAs: a.Pool(), MaxVersion: tls.VersionTLS12})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET /far HTTP/1.1\r\nHost: web.test\r\n\r\n")
	b := make([]byte, 4096)
	if n, err := c.Read(b); err != nil || !strings.Contains(string(b[:n]), "debuggee: GET /far") {
		t.Errorf("%q, %v", b[:n], err)
	}
	if all := f.seen(); len(all) != 1 || all[0].Kind != wire.KindRequest {
		t.Errorf("asked for %+v", all)
	}
	_ = c.Close()
}

// TestTargetAnswersOverTLSWhatIsNotTheDebuggees : a kubelet's probe, and what comes while the debugger is stopped.
func TestTargetAnswersOverTLSWhatIsNotTheDebuggees(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("web", "web.test")}, NextProtos: []string{"http/1.1"}})
	f := startFarEndWith(t, a, nil)
	f.on(answerRequest)
	params := wantRequests("")
	params.TLS, params.Probes = in("web"), []string{"/healthz"}
	if _, err := f.Subscribe(t.Context(), params); err != nil {
		t.Fatal(err)
	}
	ask := func(path, agent, want string) {
		t.Helper()
		// A kubelet does not look at the certificate.
		b := browser(t, client, &tls.Config{InsecureSkipVerify: true})
		defer b.CloseIdleConnections()
		if _, body := get(t, b, "https://"+testpod.Pod4+path, "User-Agent", agent); !strings.HasPrefix(body, want) {
			t.Errorf("%s by %s: %s", path, agent, body)
		}
	}
	ask("/healthz", "kube-probe/1.34", "target: ")
	ask("/healthz", "curl", "debuggee: ")
	f.SetPaused(time.Now())
	ask("/a", "curl", "target: ")
	f.SetPaused(time.Time{})
	ask("/a", "curl", "debuggee: ")
}

// TestTargetThatDoesNotTakeTheCertificateIsSaid : by TLS 1.2 in the handshake, so that the connection stays TLS, by TLS 1.3 behind it.
func TestTargetThatDoesNotTakeTheCertificateIsSaid(t *testing.T) {
	client := testpod.NewClient(t)
	a, strange := authority.New(t), authority.New(t)
	web, alice := a.Issue("web", "web.test"), a.Issue("alice")
	strange.Issue("podstep")
	for version, want := range map[uint16]string{tls.VersionTLS12: "target: ", tls.VersionTLS13: ""} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{web}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool(), MaxVersion: version, NextProtos: []string{"http/1.1"}})
			told := &tally{}
			f := startFarEndWith(t, a, told)
			f.on(answerRequest)
			p := in("web")
			p.Client = &wire.ClientPair{KeyPair: wire.KeyPair{CertPEM: wire.Secret(strange.Text("podstep.crt")), KeyPEM: wire.Secret(strange.Text("podstep.key"))}, CA: "/ca.crt"}
			f.stealTLS(t, p, "X-User: alice")
			b := browser(t, client, &tls.Config{RootCAs: a.Pool(), Certificates: []tls.Certificate{alice}, NextProtos: []string{"http/1.1"}})
			_, body := get(t, b, "https://web.test/")
			if !strings.HasPrefix(body, want) {
				t.Error(body)
			}
			testpod.Eventually(t, "it is said", func() bool { return told.of(wire.UnreadTLSRefused) > 0 })
		})
	}
}

// TestConnectionThatStaysTLSTakesNoMemoryOfIt : another one may have it.
func TestConnectionThatStaysTLSTakesNoMemoryOfIt(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	web, other := a.Issue("web", "web.test"), a.Issue("other", "other.test")
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{web, other}, NextProtos: []string{"http/1.1"}})
	f := startFarEnd(t, Options{Files: os.DirFS(a.Dir), Memory: NewMemory(unwrappedCost*3/2, 256, nil)})
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	b := browser(t, client, &tls.Config{RootCAs: a.Pool()})
	for range 3 { // on one connection of each, which are kept
		for _, test := range [][2]string{{"other.test", "target: "}, {"web.test", "debuggee: "}} {
			if _, body := get(t, b, "https://"+test[0]+"/", "X-User", "alice"); !strings.HasPrefix(body, test[1]) {
				t.Errorf("%s: %s", test[0], body)
			}
		}
	}
}

// full is TLS over a connection whose other end does not read, and has no more room.
func full(t *testing.T) (s *secured, reader *net.TCPConn) {
	t.Helper()
	web := authority.New(t).Issue("web", "web.test")
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = conn.Close(), accepted.Close() })
	shaken := make(chan error, 1)
	go func() { shaken <- tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
	below := &carrier{width: NewMemory(16<<20, 256, nil).width(accepted)}
	s = &secured{Conn: tls.Server(below, &tls.Config{Certificates: []tls.Certificate{web}}), below: below, cut: new(atomic.Bool), otherCut: new(atomic.Bool)}
	if err := errors.Join(s.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	for n := 1; n > 0; {
		_ = accepted.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, _ = accepted.Write(make([]byte, 64<<10))
	}
	_ = accepted.SetWriteDeadline(time.Time{})
	return s, conn
}

// TestCloseNotifyWaitsForWhatWasSentBefore : whoever reads slowly gets the end, too.
func TestCloseNotifyWaitsForWhatWasSentBefore(t *testing.T) {
	s, reader := full(t)
	ended := make(chan error, 1)
	go func() { ended <- s.CloseWrite() }()
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(6 * time.Second): // package tls waits for 5
	}
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestCloseDoesNotWaitForWhoDoesNotRead(t *testing.T) {
	s, _ := full(t)
	began := time.Now()
	_ = s.Close()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}
