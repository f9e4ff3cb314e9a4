package tunnel

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/authority"
	"podstep.dev/internal/wire"
)

// secureServed is a debuggee of net/http that speaks TLS.
func secureServed(t *testing.T, config *tls.Config) *debuggee {
	t.Helper()
	l := listen(t)
	d := &debuggee{addr: l.Addr().String()}
	s := &http.Server{TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = fmt.Fprintf(w, "%s %s over TLS for %q as %s", r.Method, r.URL.Path, r.TLS.ServerName, client)
	}), ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			d.conns.Add(1)
		}
	}}
	go func() { _ = s.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = s.Close() })
	return d
}

// failures keeps what is told of handshakes.
type failures struct {
	mu   sync.Mutex
	told []string
}

func (f *failures) add(port uint16, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, fmt.Sprintf("%d: %v", port, err))
}

func (f *failures) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told
}

// openTLS asks for a request of a client that spoke TLS.
func (a *agentEnd) openTLS(connection uint64, sent string, was wire.Secured) (*mux.Stream, error) {
	return a.Open(a.Context(), wire.Header{
		Kind: wire.KindRequest, Port: 80, From: from, To: to, Subscription: 1,
		Connection: connection, Request: a.last.Add(1), Protocol: wire.HTTP1, TLS: &was,
	}, []byte(sent))
}

func (a *agentEnd) askTLS(connection uint64, sent string, was wire.Secured) outcome {
	stream, err := a.openTLS(connection, sent, was)
	if err != nil {
		return outcome{Refused: err}
	}
	_ = stream.CloseWrite()
	defer func() { _ = stream.Close() }()
	return a.hear(stream)
}

var web = wire.Secured{ServerName: "web.test", Protocol: "http/1.1"}

func TestDebuggeeIsSpokenToInTLS(t *testing.T) {
	own := authority.New(t)
	d := secureServed(t, &tls.Config{Certificates: []tls.Certificate{own.Issue("mine")}})
	a := connect(t, &Tunnel{TLS: map[uint16]TLS{80: {}}}, d)
	for range 3 {
		a.askTLS(1, get("/a"), web).answered(t, "GET", `GET /a over TLS for "web.test" as nobody`)
	}
	if n := d.conns.Load(); n != 1 {
		t.Errorf("%d connections for one client's requests", n)
	}
	st, err := a.Open(t.Context(), wire.Header{Kind: wire.KindIncoming, Port: 80, From: from, To: to, TLS: &web}, []byte(get("/whole")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	response, err := http.ReadResponse(bufio.NewReader(st), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(response.Body); string(body) != `GET /whole over TLS for "web.test" as nobody` {
		t.Errorf("a whole connection: %s", body)
	}
}

func TestDebuggeeThatAsksIsShownACertificate(t *testing.T) {
	own := authority.New(t)
	d := secureServed(t, &tls.Config{Certificates: []tls.Certificate{own.Issue("mine")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: own.Pool()})
	alice := own.Issue("alice")
	a := connect(t, &Tunnel{TLS: map[uint16]TLS{80: {Client: &alice}}}, d)
	a.askTLS(1, get("/a"), web).answered(t, "GET", `GET /a over TLS for "web.test" as alice`)
}

func TestDebuggeeThatAsksForACertificateThatIsNotThereIsTold(t *testing.T) {
	own := authority.New(t)
	for _, most := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var told failures
		d := secureServed(t, &tls.Config{Certificates: []tls.Certificate{own.Issue("mine")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: own.Pool(), MaxVersion: most})
		a := connect(t, &Tunnel{TLS: map[uint16]TLS{80: {}}, TLSFailed: told.add}, d)
		if o := a.askTLS(1, get("/a"), web); o.Refused == nil && o.Failed == nil {
			t.Errorf("%s: %v", tls.VersionName(most), o)
		}
		if all := told.all(); len(all) != 1 || !strings.Contains(all[0], "remote error: tls: ") {
			t.Errorf("%s: told %q", tls.VersionName(most), all)
		}
	}
}

func TestPlainDebuggeeIsSpokenToPlainly(t *testing.T) {
	a := connect(t, &Tunnel{}, served(t, various))
	a.askTLS(1, get("/a"), web).answered(t, "GET", "GET /a 0")
	// A client that spoke no TLS is not made to.
	own := authority.New(t)
	b := connect(t, &Tunnel{TLS: map[uint16]TLS{80: {}}}, secureServed(t, &tls.Config{Certificates: []tls.Certificate{own.Issue("mine")}}))
	if o := b.ask(1, get("/a")); !strings.Contains(o.Response, "400 Bad Request") {
		t.Errorf("a plain request: %v", o)
	}
}

// TestDebuggeeWithoutTLSLeavesRequestsToTheTarget : that, and why, is told.
func TestDebuggeeWithoutTLSLeavesRequestsToTheTarget(t *testing.T) {
	own := authority.New(t)
	for name, test := range map[string]struct {
		d    *debuggee
		was  wire.Secured
		want string
	}{
		"plain":   {served(t, various), web, "first record does not look like a TLS handshake"},
		"without": {secureServed(t, &tls.Config{Certificates: []tls.Certificate{own.Issue("mine")}, NextProtos: []string{"http/1.1"}}), wire.Secured{Protocol: "mqtt"}, "no application protocol"},
		"silent":  {raw(t, func(_ *net.TCPConn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) }), web, "deadline exceeded"},
		"ends":    {raw(t, func(*net.TCPConn, *bufio.Reader) {}), web, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var told failures
			a := connect(t, &Tunnel{TLS: map[uint16]TLS{80: {}}, TLSFailed: told.add}, test.d)
			began := time.Now()
			o := a.askTLS(1, get("/a"), test.was)
			var refusal *wire.Refusal
			if !errors.As(o.Refused, &refusal) || refusal.Errno != syscall.EPROTO || !strings.Contains(refusal.Text, test.want) {
				t.Errorf("got %v", o)
			}
			if took := time.Since(began); took > handshakeTimeout+time.Second {
				t.Errorf("it took %v", took)
			}
			if all := told.all(); len(all) != 1 || !strings.HasPrefix(all[0], "80: ") || !strings.Contains(all[0], test.want) {
				t.Errorf("told %q", all)
			}
		})
	}
}

func TestReplayIsSpokenInTLS(t *testing.T) {
	own := authority.New(t)
	d := secureServed(t, &tls.Config{Certificates: []tls.Certificate{own.Issue("mine")}})
	tn := &Tunnel{TLS: map[uint16]TLS{80: {}}, Deliver: d.deliver}
	var heard tape
	if err := tn.Replay(t.Context(), 80, []byte("GET /again HTTP/1.1\r\nHost: web.test:443\r\n\r\n"), &heard); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(heard.response), `GET /again over TLS for "web.test" as nobody`) {
		t.Errorf("%s", heard.response)
	}
}

const pythonDebuggee = `
import http.server, ssl, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"python: " + self.path.encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(sys.argv[1], sys.argv[2])
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H); s.socket = c.wrap_socket(s.socket, server_side=True)
print(s.server_port, flush=True); s.serve_forever()
`

func TestDebuggeeInPythonIsSpokenToInTLS(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skipf("needs the program python3: %v", err)
	}
	own := authority.New(t)
	own.Issue("mine")
	cmd := exec.CommandContext(t.Context(), python, "-c", pythonDebuggee, own.Path("mine.crt"), own.Path("mine.key"))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log testkit.Output
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	port, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, log.String())
	}
	d := &debuggee{addr: "127.0.0.1:" + strings.TrimSpace(port)}
	tn := &Tunnel{TLS: map[uint16]TLS{80: {}}}
	a := connect(t, tn, d)
	for range 3 {
		a.askTLS(1, get("/a"), web).answered(t, "GET", "python: /a")
	}
}
