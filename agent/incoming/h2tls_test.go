//go:build linux

package incoming

import (
	"crypto/tls"
	"strings"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit/authority"
	"podstep.dev/internal/wire"
)

// TestStreamsOfHTTP2OverTLSGoToWhomTheyAreFor : the target says its SETTINGS before the client has said anything in TLS, or after.
func TestStreamsOfHTTP2OverTLSGoToWhomTheyAreFor(t *testing.T) {
	client := testpod.NewClient(t)
	a := authority.New(t)
	tlsTarget(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("web", "web.test")}})
	serveH2(t, "127.0.0.1:90", says("debuggee"))
	f := startFarEndWith(t, a, nil)
	f.on(debuggeeH2(t, "127.0.0.1:90"))
	f.stealTLS(t, in("web"), "X-User: alice")
	for range 20 {
		b := browser(t, client, &tls.Config{RootCAs: a.Pool()})
		for range 2 {
			if _, body := get(t, b, "https://web.test/a"); !strings.HasPrefix(body, "target: GET /a 0 <nil> from "+testpod.Client4) || !strings.Contains(body, "in HTTP/2.0") {
				t.Errorf("another's: %s", body)
			}
			if _, body := get(t, b, "https://web.test/b", "X-User", "alice"); !strings.HasPrefix(body, "debuggee: HTTP/2.0 GET /b") {
				t.Errorf("alice's: %s", body)
			}
		}
		b.CloseIdleConnections()
	}
	for _, h := range f.seen() {
		if h.Kind != wire.KindRequest || h.Protocol != wire.HTTP2 || h.TLS == nil || h.TLS.Protocol != "h2" {
			t.Errorf("header %+v", h)
		}
	}
}
