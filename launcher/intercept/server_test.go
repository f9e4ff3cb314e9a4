//go:build linux

package intercept_test

import (
	"bufio"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"podstep.dev/launcher/intercept"
)

var (
	peer = netip.MustParseAddrPort("203.0.113.9:4321")
	here = netip.MustParseAddrPort(podIP + ":8080")
)

// request delivers a connection to port, sends text and returns all that comes back.
func (l *lab) request(t testing.TB, port uint16, text string) string {
	t.Helper()
	c, err := l.Deliver(t.Context(), port, peer, here)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(bufio.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDeliverShowsTheTruePeer(t *testing.T) {
	l := newLab(t)
	d := l.start(t, intercept.All, "/usr/bin/python3", "-c", `
import socket
s = socket.socket(); s.bind(("10.244.1.7", 8080)); s.listen()
while True:
    c, peer = s.accept()
    c.recv(10)
    c.sendall(repr((peer, c.getpeername(), c.getsockname(), s.getsockname())).encode())
    c.close()
`)
	if port := l.listening(t); port != 8080 {
		t.Errorf("told of port %d, want 8080", port)
	}
	want := `(('203.0.113.9', 4321), ('203.0.113.9', 4321), ('10.244.1.7', 8080), ('10.244.1.7', 8080))`
	for range 3 {
		if got := l.request(t, 8080, "x"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	_ = d.Process.Kill()
	_ = d.wait()
	if _, err := l.Deliver(t.Context(), 8080, peer, here); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("Deliver to a dead debuggee: %v, want ECONNREFUSED", err)
	}
}

func TestDeliverReachesPythonsHTTPServer(t *testing.T) {
	l := newLab(t)
	l.start(t, intercept.All, "/usr/bin/python3", "-c", `
import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(repr(self.client_address).encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 8080), H).serve_forever()
`)
	l.listening(t)
	if got := l.request(t, 8080, "GET / HTTP/1.0\r\n\r\n"); !strings.HasSuffix(got, "('203.0.113.9', 4321)") {
		t.Errorf("got %q", got)
	}
}
