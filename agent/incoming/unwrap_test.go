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
	"podstep.dev/internal/wire"
)

func TestRequestsOverTLSAreRouted(t *testing.T) {
	client := testpod.NewClient(t)
	a := newAuthority(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.issue("web", "web.test")}, NextProtos: []string{"http/1.1"}})
	f := a.startFarEnd(t, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	b := browser(t, client, &tls.Config{RootCAs: a.pool()})
	for range 3 {
		if status, body := get(t, b, "https://web.test/a", "X-User", "alice"); status != 200 || !strings.HasPrefix(body, "debuggee: GET /a HTTP/1.1") {
			t.Errorf("alice's: %d %s", status, body)
		}
		want := "target: GET /b 0 <nil> from " + testpod.Client4 + " as nobody in HTTP/1.1 web.test 304"
		if status, body := get(t, b, "https://web.test/b"); status != 200 || body != want {
			t.Errorf("another's: %d %s, want %s", status, body, want)
		}
	}
	headers := f.seen()
	if len(headers) != 3 {
		t.Fatalf("%d streams", len(headers))
	}
	for i, h := range headers {
		if h.Kind != wire.KindRequest || h.Connection != 1 || h.Request != uint64(i+1) || h.TLS == nil || *h.TLS != (wire.Secured{ServerName: "web.test", Protocol: "http/1.1"}) {
			t.Errorf("header %+v of TLS %+v", h, h.TLS)
		}
	}
}

func TestProtocolIsTheOneThatTheTargetChooses(t *testing.T) {
	client := testpod.NewClient(t)
	a := newAuthority(t)
	web := a.issue("web", "web.test")
	for name, test := range map[string]struct {
		target      []string
		most        uint16
		client      []string
		want        string
		wantVersion uint16
	}{
		"h2":                      {[]string{"h2", "http/1.1"}, 0, []string{"h2", "http/1.1"}, "h2", tls.VersionTLS13},
		"the target has no h2":    {[]string{"http/1.1"}, 0, []string{"h2", "http/1.1"}, "http/1.1", tls.VersionTLS13},
		"the client has no h2":    {[]string{"h2", "http/1.1"}, 0, []string{"http/1.1"}, "http/1.1", tls.VersionTLS13},
		"the target knows none":   {[]string{}, 0, []string{"h2", "http/1.1"}, "", tls.VersionTLS13},
		"the client asks nothing": {[]string{"h2", "http/1.1"}, 0, nil, "", tls.VersionTLS13},
		"another protocol":        {[]string{"mqtt"}, 0, []string{"mqtt"}, "mqtt", tls.VersionTLS13},
		"TLS 1.2":                 {[]string{"http/1.1"}, tls.VersionTLS12, []string{"http/1.1"}, "http/1.1", tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := tls.Listen("tcp", "[::]:80", &tls.Config{Certificates: []tls.Certificate{web}, NextProtos: test.target, MaxVersion: test.most})
			if err != nil {
				t.Fatal(err)
			}
			serveEach(t, l, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
			f := a.startFarEnd(t, nil)
			f.on(answerRequest)
			sub := f.stealTLS(t, in("web"), "X-User: alice")
			c := tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test", RootCAs: a.pool(), NextProtos: test.client})
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			if s := c.ConnectionState(); s.NegotiatedProtocol != test.want || s.Version != test.wantVersion {
				t.Errorf("agreed upon %q and %x", s.NegotiatedProtocol, s.Version)
			}
			_ = c.Close()
			if err := f.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestProtocolIsTheClientsChoiceWithoutATarget(t *testing.T) {
	client := testpod.NewClient(t)
	a := newAuthority(t)
	a.issue("web", "web.test")
	f := a.startFarEnd(t, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "")
	for _, want := range []string{"http/1.1", "h2"} {
		other := map[string]string{"h2": "http/1.1", "http/1.1": "h2"}[want]
		c := tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test", RootCAs: a.pool(), NextProtos: []string{want, other}})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().NegotiatedProtocol; got != want {
			t.Errorf("agreed upon %q, want %q", got, want)
		}
		_ = c.Close()
	}
	b := browser(t, client, &tls.Config{RootCAs: a.pool(), NextProtos: []string{"http/1.1"}})
	if status, body := get(t, b, "https://web.test/a"); status != 200 || !strings.HasPrefix(body, "debuggee: ") {
		t.Errorf("%d %s", status, body)
	}
}

func TestCertificateIsTheOneThatTheTargetShows(t *testing.T) {
	client := testpod.NewClient(t)
	a := newAuthority(t)
	one, two, other := a.issue("one", "one.test"), a.issue("two", "two.test"), a.issue("other", "other.test")
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{one, two, other}, NextProtos: []string{"http/1.1"}})
	told := &tally{}
	f := a.startFarEnd(t, told)
	f.on(answerRequest)
	f.stealTLS(t, in("one", "two"), "X-User: alice")
	for name, test := range map[string]struct {
		user, want string
		cert       tls.Certificate
	}{
		"one.test":   {"alice", "debuggee: ", one},
		"two.test":   {"alice", "debuggee: ", two},
		"other.test": {"alice", "target: ", other}, // without the certificate it stays TLS
	} {
		var got []byte
		b := browser(t, client, &tls.Config{RootCAs: a.pool(), NextProtos: []string{"http/1.1"}, VerifyConnection: func(s tls.ConnectionState) error {
			got = s.PeerCertificates[0].Raw
			return nil
		}})
		if status, body := get(t, b, "https://"+name+"/", "X-User", test.user); status != 200 || !strings.HasPrefix(body, test.want) {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if !bytes.Equal(got, test.cert.Certificate[0]) {
			t.Errorf("%s: another certificate was shown", name)
		}
	}
	told.expect(t, wire.UnreadTLSName, 1)
}

func TestCertificateMayBeGiven(t *testing.T) {
	client := testpod.NewClient(t)
	a, dev := newAuthority(t), newAuthority(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.issue("web", "web.test")}})
	dev.issue("web", "web.test")
	f := startFarEnd(t, Options{})
	f.on(answerRequest)
	f.stealTLS(t, &wire.TLS{Certificates: []wire.KeyPair{{CertPEM: dev.text("web.crt"), KeyPEM: dev.text("web.key")}}}, "X-User: alice")
	b := browser(t, client, &tls.Config{RootCAs: dev.pool(), NextProtos: []string{"http/1.1"}})
	if status, body := get(t, b, "https://web.test/", "X-User", "alice"); status != 200 || !strings.HasPrefix(body, "debuggee: ") {
		t.Errorf("%d %s", status, body)
	}
	if _, body := get(t, b, "https://web.test/"); !strings.HasPrefix(body, "target: ") {
		t.Error(body)
	}
}

func TestCertificateThatIsRenewedIsShown(t *testing.T) {
	client := testpod.NewClient(t)
	a := newAuthority(t)
	a.issue("web", "web.test")
	f := a.startFarEnd(t, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "")
	shown := func() []byte {
		c := tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test", RootCAs: a.pool()})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	before := shown()
	// Half of what is new cannot be used.
	key, err := os.ReadFile(a.path("web.key"))
	if err != nil {
		t.Fatal(err)
	}
	renewed := a.issue("web", "web.test")
	fresh, _ := os.ReadFile(a.path("web.key"))
	_ = os.WriteFile(a.path("web.key"), key, 0o600)
	changed := time.Now()
	testpod.Eventually(t, "the files are looked at", func() bool {
		if !bytes.Equal(shown(), before) {
			t.Error("a certificate without its key is shown")
		}
		return time.Since(changed) > lookEvery+100*time.Millisecond
	})
	_ = os.WriteFile(a.path("web.key"), fresh, 0o600)
	testpod.Eventually(t, "the new certificate is shown", func() bool { return bytes.Equal(shown(), renewed.Certificate[0]) })
}

func TestCertificatesThatCannotBeUsedAreRefused(t *testing.T) {
	a := newAuthority(t)
	a.issue("web", "web.test")
	a.issue("other", "other.test")
	if err := errors.Join(os.WriteFile(a.path("broken.crt"), []byte("nothing"), 0o600), os.Mkdir(a.path("dir"), 0o700)); err != nil {
		t.Fatal(err)
	}
	pair := func(cert, key string) *wire.TLS {
		return &wire.TLS{Certificates: []wire.KeyPair{{Cert: cert, Key: key}}}
	}
	for name, test := range map[string]struct {
		tls   *wire.TLS
		want  string
		errno syscall.Errno
	}{
		"none":           {&wire.TLS{}, "no certificate is given", syscall.EINVAL},
		"no key":         {pair("/web.crt", ""), "the key is missing", syscall.EINVAL},
		"missing":        {pair("/web.crt", "/no.key"), "read /no.key of the target: no such file or directory", syscall.ENOENT},
		"another's key":  {pair("/web.crt", "/other.key"), "/web.crt and /other.key: tls: private key does not match public key", syscall.EINVAL},
		"no certificate": {pair("/broken.crt", "/web.key"), "/broken.crt and /web.key: tls: failed to find any PEM data", syscall.EINVAL},
		"directory":      {pair("/dir", "/web.key"), "read /dir of the target: not a regular file", syscall.EINVAL},
		"relative":       {pair("web.crt", "/web.key"), "read web.crt of the target: not an absolute path", syscall.EINVAL},
	} {
		f := a.startFarEnd(t, nil)
		params := wantRequests("")
		params.TLS = test.tls
		_, err := f.Subscribe(t.Context(), params)
		refusal, _ := errors.AsType[*wire.Refusal](err)
		if refusal == nil || refusal.Reason != wire.ReasonTLS || refusal.Errno != test.errno || !strings.Contains(refusal.Text, test.want) {
			t.Errorf("%s: %+v", name, err)
		}
		if _, err := net.DialTimeout("tcp", "127.0.0.1:80", time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: the port is taken all the same: %v", name, err)
		}
	}
	f := startFarEnd(t, Options{})
	params := wantRequests("")
	params.TLS = in("web")
	if _, err := f.Subscribe(t.Context(), params); err == nil || !strings.Contains(err.Error(), "does not see the target's files") {
		t.Errorf("without files: %v", err)
	}
	mirror := wire.SubscribeParams{Port: 80, Mode: wire.ModeMirror, TLS: in("web")}
	if _, err := a.startFarEnd(t, nil).Subscribe(t.Context(), mirror); err == nil || !strings.Contains(err.Error(), "stolen alone") {
		t.Errorf("a mirror: %v", err)
	}
}

func TestPlainBytesOnAPortOfTLSAreServed(t *testing.T) {
	client := testpod.NewClient(t)
	a := newAuthority(t)
	a.issue("web", "web.test")
	webTarget(t, "[::]:80", nil)
	f := a.startFarEnd(t, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	c := talk(t, client)
	c.ask("GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "target: GET /a")
	c.ask("GET /b HTTP/1.1\r\nHost: x\r\nX-User: alice\r\n\r\n", "debuggee: GET /b")
	if h := f.seen()[0]; h.TLS != nil {
		t.Errorf("header has TLS %+v", h.TLS)
	}
}

// TestTargetWithoutTLSKeepsItsConnections : what is no TLS for the target is its affair, and said.
func TestTargetWithoutTLSKeepsItsConnections(t *testing.T) {
	client := testpod.NewClient(t)
	a := newAuthority(t)
	a.issue("web", "web.test")
	firsts := make(chan byte, 4)
	l := targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) {
		b := make([]byte, 512)
		_, _ = c.Read(b)
		firsts <- b[0]
		_, _ = io.WriteString(c, "what?\n")
	})
	defer func() { _ = l.Close() }()
	told := &tally{}
	f := a.startFarEnd(t, told)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "")
	for range 2 {
		c := tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test"})
		if err := c.Handshake(); !errors.As(err, new(tls.RecordHeaderError)) {
			t.Errorf("handshake: %v", err)
		}
	}
	told.expect(t, wire.UnreadTLSTarget, 2)
	// The first was tried in TLS before; the second was not.
	if len(firsts) != 3 {
		t.Errorf("the target has had %d connections", len(firsts))
	}
}

func TestTargetThatAsksForACertificateKeepsItsConnections(t *testing.T) {
	client := testpod.NewClient(t)
	a := newAuthority(t)
	web, alice := a.issue("web", "web.test"), a.issue("alice")
	for _, most := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(most), func(t *testing.T) {
			tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{web}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool(), MaxVersion: most, NextProtos: []string{"http/1.1"}})
			told := &tally{}
			f := a.startFarEnd(t, told)
			f.on(answerRequest)
			f.stealTLS(t, in("web"), "")
			b := browser(t, client, &tls.Config{RootCAs: a.pool(), Certificates: []tls.Certificate{alice}, NextProtos: []string{"http/1.1"}})
			if status, body := get(t, b, "https://web.test/"); status != 200 || !strings.Contains(body, "as alice") {
				t.Errorf("%d %s", status, body)
			}
			told.expect(t, wire.UnreadTLSMutual, 1)
		})
	}
}

func TestCertificateIsShownToTheTargetForClientsThatHaveOne(t *testing.T) {
	client := testpod.NewClient(t)
	a, strange := newAuthority(t), newAuthority(t)
	web, alice := a.issue("web", "web.test"), a.issue("alice")
	a.issue("podstep")
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{web}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: a.pool(), NextProtos: []string{"http/1.1"}})
	told := &tally{}
	f := a.startFarEnd(t, told)
	f.on(answerRequest)
	p := in("web")
	p.Client = &wire.ClientPair{KeyPair: wire.KeyPair{Cert: "/podstep.crt", Key: "/podstep.key"}, CA: "/ca.crt"}
	f.stealTLS(t, p, "X-User: alice")
	with := browser(t, client, &tls.Config{RootCAs: a.pool(), Certificates: []tls.Certificate{alice}, NextProtos: []string{"http/1.1"}})
	if _, body := get(t, with, "https://web.test/"); !strings.Contains(body, "as podstep") {
		t.Errorf("with a certificate: %s", body)
	}
	if _, body := get(t, with, "https://web.test/", "X-User", "alice"); !strings.HasPrefix(body, "debuggee: ") {
		t.Errorf("with a certificate, by the filter: %s", body)
	}
	without := browser(t, client, &tls.Config{RootCAs: a.pool(), NextProtos: []string{"http/1.1"}})
	for range 2 {
		if _, body := get(t, without, "https://web.test/", "X-User", "alice"); !strings.Contains(body, "as nobody") {
			t.Errorf("without one: %s", body)
		}
	}
	forged := strange.issue("mallory")
	forger := browser(t, client, &tls.Config{RootCAs: a.pool(), NextProtos: []string{"http/1.1"}, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &forged, nil }})
	if status, body := get(t, forger, "https://web.test/"); status != 0 {
		t.Errorf("with another authority's: %d %s", status, body)
	}
	told.expect(t, wire.UnreadTLSFailed, 1)
}

func TestClientThatDoesNotTrustIsCounted(t *testing.T) {
	client := testpod.NewClient(t)
	a, dev := newAuthority(t), newAuthority(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.issue("web", "web.test")}})
	dev.issue("web", "web.test")
	told := &tally{}
	f := dev.startFarEnd(t, told)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	b := browser(t, client, &tls.Config{RootCAs: a.pool()})
	if status, body := get(t, b, "https://web.test/"); status != 0 || !strings.Contains(body, "certificate signed by unknown authority") {
		t.Errorf("%d %s", status, body)
	}
	told.expect(t, wire.UnreadTLSUntrusted, 1)
	f.freed(t)
}

// TestHalvesOfTLSEndAsTheOtherSideEnds : close_notify stays that, and a half that was cut stays cut.
func TestHalvesOfTLSEndAsTheOtherSideEnds(t *testing.T) {
	client := testpod.NewClient(t)
	a := newAuthority(t)
	web := a.issue("web", "web.test")
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
	var notify func(*tls.Conn, *net.TCPConn)
	l := targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) {
		below := &tapped{TCPConn: c}
		server := tls.Server(below, &tls.Config{Certificates: []tls.Certificate{web}})
		atTarget <- ends(server, below)
		_, _ = io.WriteString(server, "bye")
		notify(server, c)
		_, _ = io.Copy(io.Discard, c)
	})
	defer func() { _ = l.Close() }()
	f := a.startFarEnd(t, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	for name, end := range map[string]func(*tls.Conn, *net.TCPConn){
		"close_notify": func(c *tls.Conn, tcp *net.TCPConn) { _ = c.CloseWrite(); _ = tcp.CloseWrite() },
		"without":      func(_ *tls.Conn, tcp *net.TCPConn) { _ = tcp.CloseWrite() },
	} {
		notify = end
		tcp := dial(t, client, testpod.Pod4+":80")
		below := &tapped{TCPConn: tcp}
		c := tls.Client(below, &tls.Config{ServerName: "web.test", RootCAs: a.pool()})
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
	a := newAuthority(t)
	web := a.issue("web", "web.test")
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
	f := a.startFarEnd(t, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	for _, target := range []bool{true, false} {
		tcp := dial(t, client, testpod.Pod4+":80")
		c := tls.Client(tcp, &tls.Config{ServerName: "web.test", RootCAs: a.pool()})
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
	a := newAuthority(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.issue("web", "web.test")}})
	f := a.startFarEnd(t, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	tcp := dial(t, client, testpod.Pod4+":80")
	c := tls.Client(tcp, &tls.Config{ServerName: "web.test", RootCAs: a.pool()})
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
	a := newAuthority(t)
	a.issue("web", "web.test")
	atTarget := make(chan received, 1)
	l := targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) { atTarget <- readAll(c) })
	defer func() { _ = l.Close() }()
	told := &tally{}
	f := a.startFarEnd(t, told)
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
	a := newAuthority(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.issue("web", "web.test")}})
	told := &tally{}
	f := a.startFarEnd(t, told)
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
	if took := time.Since(began); took < handshakePatience-time.Second || took > handshakePatience+2*time.Second {
		t.Errorf("ended after %v", took)
	}
	told.expect(t, wire.UnreadTLSExpired, 1)
	f.freed(t)
}

func TestWholeConnectionOverTLSReachesTheDebuggee(t *testing.T) {
	client := testpod.NewClient(t)
	a := newAuthority(t)
	web := a.issue("web", "web.test")
	for _, with := range []bool{false, true} {
		if with {
			tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{web}})
		}
		f := a.startFarEnd(t, nil)
		f.on(chat)
		sub := f.stealTLS(t, in("web"), "")
		c := tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test", RootCAs: a.pool()})
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
	a := newAuthority(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.issue("web", "web.test")}, NextProtos: []string{"http/1.1"}})
	f := a.startFarEnd(t, nil)
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
	c := tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test", RootCAs: a.pool()})
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
