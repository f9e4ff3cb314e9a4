//go:build linux

package incoming

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/wire"
)

// authority signs the certificates of a test.
type authority struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// newAuthority keeps files in a directory of the test: ca.crt is its own.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.key, a.cert = a.sign("an authority", true, nil)
	a.write("ca.crt", "CERTIFICATE", a.cert.Raw)
	return a
}

// sign makes a key and its certificate.
func (a *authority) sign(name string, ca bool, names []string) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true, DNSNames: names,
		IPAddresses: []net.IP{net.ParseIP(testpod.Pod4)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, by := template, key
	if ca {
		template.KeyUsage, template.ExtKeyUsage, template.IPAddresses = x509.KeyUsageCertSign, nil, nil
	} else {
		parent, by = a.cert, a.key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert
}

func (a *authority) write(file, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes file.crt and file.key for names, and returns the pair.
func (a *authority) issue(file string, names ...string) tls.Certificate {
	a.t.Helper()
	key, cert := a.sign(file, false, names)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(file+".crt", "CERTIFICATE", cert.Raw)
	a.write(file+".key", "PRIVATE KEY", der)
	pair, err := tls.LoadX509KeyPair(a.path(file+".crt"), a.path(file+".key"))
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

func (a *authority) path(file string) string { return filepath.Join(a.dir, file) }

// text is a file's.
func (a *authority) text(file string) wire.Secret {
	a.t.Helper()
	text, err := os.ReadFile(a.path(file))
	if err != nil {
		a.t.Fatal(err)
	}
	return wire.Secret(text)
}

// pool trusts the authority.
func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// in are the paths of pairs in the target's file system.
func in(files ...string) *wire.TLS {
	p := &wire.TLS{}
	for _, f := range files {
		p.Certificates = append(p.Certificates, wire.KeyPair{Cert: "/" + f + ".crt", Key: "/" + f + ".key"})
	}
	return p
}

// stealTLS takes TLS off port 80 and steals the requests that have the header, all without one.
func (f *farEnd) stealTLS(t *testing.T, p *wire.TLS, header string) wire.Subscription {
	t.Helper()
	params := wantRequests(header)
	params.TLS = p
	sub, err := f.Subscribe(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// tlsTarget plays the target by net/http over TLS: it answers with what it saw.
func tlsTarget(t *testing.T, config *tls.Config) {
	t.Helper()
	l, err := net.Listen("tcp", "[::]:80")
	if err != nil {
		t.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		client := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		host := netip.MustParseAddrPort(r.RemoteAddr).Addr().Unmap()
		_, _ = fmt.Fprintf(w, "target: %s %s %d %v from %s as %s in %s %s %x", r.Method, r.URL, len(body), err, host, client, r.Proto, r.TLS.ServerName, r.TLS.Version)
	})
	server := &http.Server{Handler: handler, TLSConfig: config, ErrorLog: zap.NewStdLog(zap.NewNop())}
	if config.NextProtos != nil && config.NextProtos[0] != "h2" {
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close(); <-served })
}

// browser is a client of net/http in the client's namespace, which keeps connections.
func browser(t *testing.T, client *testpod.Client, config *tls.Config) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: config.NextProtos == nil,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return client.Dial(testpod.Pod4 + ":80") },
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// get asks for https://host/path and returns the status, or 0, and the body or the error.
func get(t *testing.T, c *http.Client, url string, fields ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

// tally keeps what is told of connections.
type tally struct {
	mu     sync.Mutex
	counts map[wire.Unread]uint64
}

func (h *tally) add(p wire.UnreadParams) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.counts == nil {
		h.counts = map[wire.Unread]uint64{}
	}
	for why, n := range p.Connections {
		h.counts[why] += n
	}
}

func (h *tally) expect(t *testing.T, why wire.Unread, n uint64) {
	t.Helper()
	testpod.Eventually(t, fmt.Sprintf("%d connections are %q", n, why), func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.counts[why] == n
	})
}

// startFarEnd makes the authority's files the target's.
func (a *authority) startFarEnd(t *testing.T, h *tally) *farEnd {
	t.Helper()
	opts := Options{Files: os.DirFS(a.dir)}
	if h != nil {
		opts.Unread = h.add
	}
	return startFarEnd(t, opts)
}
