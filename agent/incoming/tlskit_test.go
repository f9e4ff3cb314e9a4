//go:build linux

package incoming

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit/authority"
	"podstep.dev/internal/wire"
)

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

func (h *tally) of(why wire.Unread) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts[why]
}

func (h *tally) expect(t *testing.T, why wire.Unread, n uint64) {
	t.Helper()
	testpod.Eventually(t, fmt.Sprintf("%d connections are %q", n, why), func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.counts[why] == n
	})
}

// startFarEndWith makes an authority's files the target's.
func startFarEndWith(t *testing.T, a *authority.Authority, h *tally) *farEnd {
	t.Helper()
	opts := Options{Files: os.DirFS(a.Dir)}
	if h != nil {
		opts.Unread = h.add
	}
	return startFarEnd(t, opts)
}
