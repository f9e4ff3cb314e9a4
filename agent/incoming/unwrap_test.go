//go:build linux

package incoming

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit/authority"
	"podstep.dev/internal/wire"
)

func TestRequestsOverTLSAreRouted(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("web", "web.test")}, NextProtos: []string{"http/1.1"}})
	f := startFarEndWith(t, a, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	b := browser(t, client, &tls.Config{RootCAs: a.Pool()})
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
	a := authority.New(t)
	web := a.Issue("web", "web.test")
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
			f := startFarEndWith(t, a, nil)
			f.on(answerRequest)
			sub := f.stealTLS(t, in("web"), "X-User: alice")
			c := tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test", RootCAs: a.Pool(), NextProtos: test.client})
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
	a := authority.New(t)
	a.Issue("web", "web.test")
	f := startFarEndWith(t, a, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "")
	for _, want := range []string{"http/1.1", "h2"} {
		other := map[string]string{"h2": "http/1.1", "http/1.1": "h2"}[want]
		c := tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test", RootCAs: a.Pool(), NextProtos: []string{want, other}})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().NegotiatedProtocol; got != want {
			t.Errorf("agreed upon %q, want %q", got, want)
		}
		_ = c.Close()
	}
	b := browser(t, client, &tls.Config{RootCAs: a.Pool(), NextProtos: []string{"http/1.1"}})
	if status, body := get(t, b, "https://web.test/a"); status != 200 || !strings.HasPrefix(body, "debuggee: ") {
		t.Errorf("%d %s", status, body)
	}
}

func TestCertificateIsTheOneThatTheTargetShows(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	one, two, other := a.Issue("one", "one.test"), a.Issue("two", "two.test"), a.Issue("other", "other.test")
	two.OCSPStaple, two.Certificate = []byte("a staple"), append(two.Certificate, one.Certificate[0])
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{one, two, other}, NextProtos: []string{"http/1.1"}})
	told := &tally{}
	f := startFarEndWith(t, a, told)
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
		var got tls.ConnectionState
		b := browser(t, client, &tls.Config{RootCAs: a.Pool(), NextProtos: []string{"http/1.1"}, VerifyConnection: func(s tls.ConnectionState) error {
			got = s
			return nil
		}})
		if status, body := get(t, b, "https://"+name+"/", "X-User", test.user); status != 200 || !strings.HasPrefix(body, test.want) {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if !bytes.Equal(got.PeerCertificates[0].Raw, test.cert.Certificate[0]) || len(got.PeerCertificates) != len(test.cert.Certificate) || string(got.OCSPResponse) != string(test.cert.OCSPStaple) {
			t.Errorf("%s: another certificate was shown, or not all that belongs to it", name)
		}
	}
	told.expect(t, wire.UnreadTLSName, 1)
}

func TestCertificateMayBeGiven(t *testing.T) {
	client := testpod.NewClient(t)
	a, dev := authority.New(t), authority.New(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("web", "web.test")}})
	dev.Issue("web", "web.test")
	f := startFarEnd(t, Options{})
	f.on(answerRequest)
	f.stealTLS(t, &wire.TLS{Certificates: []wire.KeyPair{{CertPEM: wire.Secret(dev.Text("web.crt")), KeyPEM: wire.Secret(dev.Text("web.key"))}}}, "X-User: alice")
	b := browser(t, client, &tls.Config{RootCAs: dev.Pool(), NextProtos: []string{"http/1.1"}})
	if status, body := get(t, b, "https://web.test/", "X-User", "alice"); status != 200 || !strings.HasPrefix(body, "debuggee: ") {
		t.Errorf("%d %s", status, body)
	}
	if _, body := get(t, b, "https://web.test/"); !strings.HasPrefix(body, "target: ") {
		t.Error(body)
	}
}

func TestCertificateThatIsRenewedIsShown(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	a.Issue("web", "web.test")
	f := startFarEndWith(t, a, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "")
	shown := func() []byte {
		c := tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test", RootCAs: a.Pool()})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	before := shown()
	renewed := a.Issue("renewed", "web.test")
	replace := func(kind string) {
		if err := os.Rename(a.Path("renewed."+kind), a.Path("web."+kind)); err != nil {
			t.Fatal(err)
		}
	}
	// Half of what is new cannot be used.
	replace("crt")
	changed := time.Now()
	testpod.Eventually(t, "the files are looked at", func() bool {
		if !bytes.Equal(shown(), before) {
			t.Error("a certificate without its key is shown")
		}
		return time.Since(changed) > lookEvery+100*time.Millisecond
	})
	replace("key")
	testpod.Eventually(t, "the new certificate is shown", func() bool { return bytes.Equal(shown(), renewed.Certificate[0]) })
}

func TestCertificatesThatCannotBeUsedAreRefused(t *testing.T) {
	a := authority.New(t)
	a.Issue("web", "web.test")
	a.Issue("other", "other.test")
	if err := errors.Join(os.WriteFile(a.Path("broken.crt"), []byte("nothing"), 0o600), os.Mkdir(a.Path("dir"), 0o700)); err != nil {
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
		f := startFarEndWith(t, a, nil)
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
	if _, err := startFarEndWith(t, a, nil).Subscribe(t.Context(), mirror); err == nil || !strings.Contains(err.Error(), "stolen alone") {
		t.Errorf("a mirror: %v", err)
	}
}

func TestPlainBytesOnAPortOfTLSAreServed(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	a.Issue("web", "web.test")
	webTarget(t, "[::]:80", nil)
	f := startFarEndWith(t, a, nil)
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
	a := authority.New(t)
	a.Issue("web", "web.test")
	firsts := make(chan byte, 4)
	l := targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) {
		b := make([]byte, 512)
		_, _ = c.Read(b)
		firsts <- b[0]
		_, _ = io.WriteString(c, "what?\n")
	})
	defer func() { _ = l.Close() }()
	told := &tally{}
	f := startFarEndWith(t, a, told)
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
	a := authority.New(t)
	web, alice := a.Issue("web", "web.test"), a.Issue("alice")
	for _, most := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(most), func(t *testing.T) {
			tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{web}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool(), MaxVersion: most, NextProtos: []string{"http/1.1"}})
			told := &tally{}
			f := startFarEndWith(t, a, told)
			f.on(answerRequest)
			f.stealTLS(t, in("web"), "")
			b := browser(t, client, &tls.Config{RootCAs: a.Pool(), Certificates: []tls.Certificate{alice}, NextProtos: []string{"http/1.1"}})
			if status, body := get(t, b, "https://web.test/"); status != 200 || !strings.Contains(body, "as alice") {
				t.Errorf("%d %s", status, body)
			}
			told.expect(t, wire.UnreadTLSMutual, 1)
		})
	}
}

func TestCertificateIsShownToTheTargetForClientsThatHaveOne(t *testing.T) {
	client := testpod.NewClient(t)
	a, strange := authority.New(t), authority.New(t)
	web, alice := a.Issue("web", "web.test"), a.Issue("alice")
	a.Issue("podstep")
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{web}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: a.Pool(), NextProtos: []string{"http/1.1"}})
	told := &tally{}
	f := startFarEndWith(t, a, told)
	f.on(answerRequest)
	p := in("web")
	p.Client = &wire.ClientPair{KeyPair: wire.KeyPair{Cert: "/podstep.crt", Key: "/podstep.key"}, CA: "/ca.crt"}
	f.stealTLS(t, p, "X-User: alice")
	with := browser(t, client, &tls.Config{RootCAs: a.Pool(), Certificates: []tls.Certificate{alice}, NextProtos: []string{"http/1.1"}})
	if _, body := get(t, with, "https://web.test/"); !strings.Contains(body, "as podstep") {
		t.Errorf("with a certificate: %s", body)
	}
	if _, body := get(t, with, "https://web.test/", "X-User", "alice"); !strings.HasPrefix(body, "debuggee: ") {
		t.Errorf("with a certificate, by the filter: %s", body)
	}
	without := browser(t, client, &tls.Config{RootCAs: a.Pool(), NextProtos: []string{"http/1.1"}})
	for range 2 {
		if _, body := get(t, without, "https://web.test/", "X-User", "alice"); !strings.Contains(body, "as nobody") {
			t.Errorf("without one: %s", body)
		}
	}
	told.expect(t, wire.UnreadTLSRefused, 0)
	forged := strange.Issue("mallory")
	forger := browser(t, client, &tls.Config{RootCAs: a.Pool(), NextProtos: []string{"http/1.1"}, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &forged, nil }})
	if status, body := get(t, forger, "https://web.test/"); status != 0 {
		t.Errorf("with another authority's: %d %s", status, body)
	}
	told.expect(t, wire.UnreadTLSFailed, 1)
}

// TestSessionWithoutCertificatesHasNothingOfTLS : beside one that has them, on the same port.
func TestSessionWithoutCertificatesHasNothingOfTLS(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("web", "web.test")}, NextProtos: []string{"http/1.1"}})
	memory := NewMemory(16<<20, 256, nil)
	ports := NewPorts(nil, memory)
	t.Cleanup(func() {
		if err := ports.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	told := &tally{}
	with := startFarEnd(t, Options{Files: os.DirFS(a.Dir), Memory: memory, Ports: ports})
	without := startFarEnd(t, Options{Memory: memory, Ports: ports, Unread: told.add})
	with.on(answerRequest)
	without.on(answerRequest)
	sub := with.stealTLS(t, in("web"), "X-User: alice")
	without.stealRequests(t, "X-User: bob")
	b := browser(t, client, &tls.Config{RootCAs: a.Pool()})
	for user, want := range map[string]string{"alice": "debuggee: ", "bob": "target: "} {
		if _, body := get(t, b, "https://web.test/", "X-User", user); !strings.HasPrefix(body, want) {
			t.Errorf("%s: %s", user, body)
		}
	}
	told.expect(t, wire.UnreadTLS, 1)
	// What was begun goes on when the certificates leave, and what comes is TLS as before.
	if err := with.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, body := get(t, b, "https://web.test/", "X-User", "alice"); !strings.HasPrefix(body, "target: ") {
			t.Error(body)
		}
		b.CloseIdleConnections()
	}
	told.expect(t, wire.UnreadTLS, 2)
}

// TestTLSWithoutMemoryStays : the connection is the target's, and counted.
func TestTLSWithoutMemoryStays(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("web", "web.test")}, NextProtos: []string{"http/1.1"}})
	told := &tally{}
	f := startFarEnd(t, Options{Files: os.DirFS(a.Dir), Memory: NewMemory(unwrappedCost*3/2, 256, nil), Unread: told.add})
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	for i, want := range []string{"debuggee: ", "target: "} {
		b := browser(t, client, &tls.Config{RootCAs: a.Pool()})
		if _, body := get(t, b, "https://web.test/", "X-User", "alice"); !strings.HasPrefix(body, want) {
			t.Errorf("connection %d: %s", i, body)
		}
	}
	told.expect(t, wire.UnreadTLSMemory, 1)
}

// TestResumedSessionIsServed : what the agent has sealed it opens again, by either version.
func TestResumedSessionIsServed(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("web", "web.test")}, NextProtos: []string{"http/1.1"}})
	f := startFarEndWith(t, a, nil)
	f.on(answerRequest)
	f.stealTLS(t, in("web"), "X-User: alice")
	for _, most := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(4)
		for i := range 3 {
			resumed := false
			b := browser(t, client, &tls.Config{RootCAs: a.Pool(), ClientSessionCache: cache, MaxVersion: most, VerifyConnection: func(s tls.ConnectionState) error {
				resumed = s.DidResume
				return nil
			}})
			if _, body := get(t, b, "https://web.test/", "X-User", "alice"); !strings.HasPrefix(body, "debuggee: ") {
				t.Error(body)
			}
			if resumed != (i > 0) {
				t.Errorf("%s, connection %d: resumed %v", tls.VersionName(most), i, resumed)
			}
			b.CloseIdleConnections()
		}
	}
}
