//go:build linux

package intercept_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/splice"
	"podstep.dev/launcher/intercept"
)

var (
	peer = netip.MustParseAddrPort("203.0.113.9:4321")
	here = netip.MustParseAddrPort(podIP + ":8080")
)

// request delivers a connection to port, sends text and returns all that comes back.
func (l *lab) request(t testing.TB, port uint16, text string) string {
	t.Helper()
	return l.requestFrom(t, port, peer, here, text)
}

func (l *lab) requestFrom(t testing.TB, port uint16, from, to netip.AddrPort, text string) string {
	t.Helper()
	c, err := l.Deliver(t.Context(), port, from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const get = "GET / HTTP/1.0\r\n\r\n"

func TestDeliverShowsTheTruePeer(t *testing.T) {
	l := newLab(t)
	d := l.start(t, intercept.All, "/usr/bin/python3", "-c", `
import socket
s = socket.create_server(("10.244.1.7", 8080))
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

// TestAcceptOfAResetConnectionHasAPeer : the kernel knows the peer of a connection that was reset before it was accepted, and
// servers give up when accept has none.
func TestAcceptOfAResetConnectionHasAPeer(t *testing.T) {
	l := newLab(t)
	l.start(t, intercept.All, "/usr/bin/python3", "-c", `
import select, socket, time
s = socket.create_server(("10.244.1.7", 8080))
select.select([s], [], [])
time.sleep(0.5) # the reset is here by then
c, first = s.accept()
c.close()
c, peer = s.accept()
c.recv(10)
c.sendall(repr((len(first), peer)).encode())
c.close()
`)
	l.listening(t)
	c, err := l.Deliver(t.Context(), 8080, peer, here)
	if err != nil {
		t.Fatal(err)
	}
	splice.Reset(c)
	if got, want := l.request(t, 8080, "x"), `(2, ('203.0.113.9', 4321))`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestServersSeeTheTruePeer drives servers that were not written for it.
func TestServersSeeTheTruePeer(t *testing.T) {
	const six = "2001:db8::9"
	for _, c := range []struct {
		name    string
		argv    func(t *testing.T) []string
		want    string
		wantSix string // "" when it listens on IPv4 alone
	}{
		{"http.server", func(*testing.T) []string { return []string{"/usr/bin/python3", "testdata/http_server.py"} }, "('203.0.113.9', 4321)", ""},
		{"asyncio", func(*testing.T) []string { return []string{"/usr/bin/python3", "testdata/asyncio_server.py"} }, "('203.0.113.9', 4321)", ""},
		{"node", func(*testing.T) []string { return []string{"node", "testdata/server.js"} }, "::ffff:203.0.113.9 4321 at ::ffff:10.244.1.7 8080", six + " 99 at fd00:244::7 8080"},
		{"static go", func(t *testing.T) []string { return []string{program(t, "goserver"), ":8080"} }, "203.0.113.9:4321 at 10.244.1.7:8080", "[" + six + "]:99 at [fd00:244::7]:8080"},
		{"nginx", nginx, "203.0.113.9 4321 at 10.244.1.7 8080", six + " 99 at fd00:244::7 8080"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.start(t, intercept.All, c.argv(t)...)
			if port := l.listening(t); port != 8080 {
				t.Errorf("told of port %d, want 8080", port)
			}
			for range 5 {
				if got := l.request(t, 8080, get); !strings.HasSuffix(strings.TrimSpace(got), c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
			}
			if c.wantSix == "" {
				return
			}
			eventually(t, "listening for IPv6", func() bool {
				got := l.requestFrom(t, 8080, netip.MustParseAddrPort("["+six+"]:99"), netip.MustParseAddrPort("[fd00:244::7]:8080"), get)
				return strings.HasSuffix(strings.TrimSpace(got), c.wantSix)
			})
		})
	}
}

// nginx is one with two workers, in the foreground.
func nginx(t *testing.T) []string {
	dir := t.TempDir()
	conf := fmt.Sprintf(`
daemon off; master_process on; worker_processes 2; pid %[1]s/pid; error_log stderr;
events { accept_mutex off; multi_accept on; }
http {
	access_log off;
	client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	resolver 10.96.0.10 ipv6=off;
	server {
		listen 8080; listen [::]:8080;
		location / { return 200 "$remote_addr $remote_port at $server_addr $server_port"; }
		location /up/ { set $to web.shop; proxy_pass http://$to/x; }
		location /gone/ { set $to gone.shop; proxy_pass http://$to/x; }
	}
}`, dir)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"/usr/sbin/nginx", "-c", path, "-p", dir, "-e", "stderr"}
}

// nginx adds its sockets to epoll before it connects them, and resolves by itself.
func TestNginxProxiesToThePod(t *testing.T) {
	l := newLab(t)
	l.web(t)
	l.start(t, intercept.All, nginx(t)...)
	l.listening(t)
	for range 10 {
		if got := l.request(t, 8080, "GET /up/ HTTP/1.0\r\n\r\n"); !strings.HasSuffix(got, "served /x for web.shop") {
			t.Errorf("got %q", got)
		}
		if got := l.request(t, 8080, "GET /gone/ HTTP/1.0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 502 ") {
			t.Errorf("a refused connection shows as %q", got)
		}
	}
}

func TestBusyPortIsReplaced(t *testing.T) {
	busy, err := net.Listen("tcp", ":8080")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	l := newLab(t)
	l.start(t, intercept.All, program(t, "goserver"), ":8080")
	if port := l.listening(t); port != 8080 {
		t.Errorf("told of port %d, want 8080", port)
	}
	if got, want := l.request(t, 8080, get), "203.0.113.9:4321 at 10.244.1.7:8080"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPrivilegedPortIsReplaced(t *testing.T) {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, unix.CAP_NET_BIND_SERVICE, 0, 0); err == nil && os.Geteuid() == 0 {
		t.Log("root may bind port 80; TestAllAsOrdinaryUser shows the replacement")
	}
	l := newLab(t)
	l.start(t, intercept.All, "/usr/bin/python3", "-c", `
import socket
s = socket.create_server(("", 80))
c, peer = s.accept(); c.sendall(repr((peer, s.getsockname())).encode()); c.close()
`)
	if port := l.listening(t); port != 80 {
		t.Errorf("told of port %d, want 80", port)
	}
	if got, want := l.request(t, 80, ""), "(('203.0.113.9', 4321), ('0.0.0.0', 80))"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBindIsBusyWhenTheDebuggeeHasThePort(t *testing.T) {
	busy, err := net.Listen("tcp", ":8080") // so that the first one's port is another really
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	l := newLab(t)
	got := l.python(t, `
import socket, errno
def bind(port, reuse=False):
    s = socket.socket()
    if reuse: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try: s.bind(("", port))
    except OSError as e: return errno.errorcode[e.errno]
    s.listen(); keep.append(s)
    return s.getsockname()[1]
keep = []
print(bind(8080), bind(8080), bind(9090), bind(9090))
keep[0].close()
print(bind(8080, True), bind(8080, True), bind(8080))
`)
	if want := "8080 EADDRINUSE 9090 EADDRINUSE\n8080 8080 EADDRINUSE"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLoopbackListenersAreNotTold(t *testing.T) {
	l := newLab(t)
	l.start(t, intercept.All, "/usr/bin/python3", "-c", `
import socket
for family, addr in ((socket.AF_INET, ("127.0.0.1", 9229)), (socket.AF_INET6, ("::1", 9230)), (socket.AF_INET, ("", 8080))):
    s = socket.create_server(addr, family=family); globals()["s%d" % addr[1]] = s
while True:
    c, peer = s9229.accept(); c.sendall(repr(peer).encode()); c.close()
`)
	if port := l.listening(t); port != 8080 {
		t.Errorf("told of port %d, want 8080 alone", port)
	}
	if got, want := l.request(t, 9229, ""), "('203.0.113.9', 4321)"; got != want { // a configured port reaches it all the same
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWorkersServeAfterTheirParentIsGone(t *testing.T) {
	l := newLab(t)
	d := l.start(t, intercept.All, "/usr/bin/python3", "-c", `
import os, socket, sys
s = socket.create_server(("", 8080))
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() != 0: os._exit(0)
    os.write(w, str(os.getpid()).encode()); os.close(w)
    while True:
        c, peer = s.accept(); c.sendall(repr(peer).encode()); c.close()
print(os.read(r, 20).decode(), flush=True)
`)
	l.listening(t)
	if err := d.Process.Release(); err != nil {
		t.Fatal(err)
	}
	var pid int
	eventually(t, "the daemon tells its id", func() bool {
		n, _ := fmt.Sscan(d.out.String(), &pid)
		return n == 1
	})
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	for range 3 {
		if got, want := l.request(t, 8080, ""), "('203.0.113.9', 4321)"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	eventually(t, "the dead daemon's port is refused", func() bool {
		c, err := l.Deliver(t.Context(), 8080, peer, here)
		if err == nil {
			_ = c.Close()
		}
		return errors.Is(err, unix.ECONNREFUSED)
	})
}
