//go:build linux

package intercept_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestConnectReachesThePodByName(t *testing.T) {
	l := newLab(t)
	l.pod.names["api.shop"] = []string{"10.96.7.7"}
	l.pod.route("10.96.7.7:9000", route{target: echo(t, "api"), delay: 20 * time.Millisecond})
	got := l.python(t, `
import socket
s = socket.create_connection(("api.shop", 9000))
names = s.getpeername(), s.getsockname()
s.sendall(b"hello"); s.shutdown(socket.SHUT_WR)
b = b""
while True:
    d = s.recv(100)
    if not d: break
    b += d
print(b.decode(), *names)
`)
	if want := "api:hello ('10.96.7.7', 9000) ('10.244.1.7', 40001)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestConnectTellsThePodsErrno(t *testing.T) {
	l := newLab(t)
	for _, errno := range []unix.Errno{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ETIMEDOUT, unix.ENETUNREACH} {
		l.pod.route("10.96.7.7:1", route{errno: errno, delay: 20 * time.Millisecond})
		got := strings.Fields(l.run(t, "/usr/bin/python3", "testdata/refused.py", "10.96.7.7", "1"))
		e := unix.ErrnoName(errno)
		want := []string{e, "0", "EINPROGRESS", "EALREADY", "True", e, "0", "EINPROGRESS", e}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", e, diff)
		}
	}
}

// web is an HTTP service of the pod, by name and behind a delay, and one that refuses.
func (l *lab) web(t *testing.T) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "served %s for %s", r.URL.Path, r.Host)
	}))
	t.Cleanup(srv.Close)
	l.pod.names["web.shop"] = []string{"10.96.7.8"}
	l.pod.names["gone.shop"] = []string{"10.96.7.9"}
	l.pod.names["far.shop"] = []string{"10.96.7.10"}
	l.pod.route("10.96.7.8:80", route{target: strings.TrimPrefix(srv.URL, "http://"), delay: 20 * time.Millisecond})
	l.pod.route("10.96.7.9:80", route{errno: unix.ECONNREFUSED, delay: 20 * time.Millisecond})
	l.pod.route("10.96.7.10:80", route{errno: unix.EHOSTUNREACH, delay: 20 * time.Millisecond})
}

// TestProgramsReachThePod drives clients that were not written for it. Each prints three lines: an answer, how a refusal
// shows, how an unreachable host shows.
func TestProgramsReachThePod(t *testing.T) {
	l := newLab(t)
	l.web(t)
	const served = "served /x for web.shop"
	for _, c := range []struct {
		name string
		argv []string
		want []string
	}{
		{"urllib", []string{"/usr/bin/python3", "testdata/urllib_client.py"}, []string{served, "ECONNREFUSED", "EHOSTUNREACH"}},
		{"asyncio", []string{"/usr/bin/python3", "testdata/asyncio_client.py"}, []string{served, "ECONNREFUSED", "EHOSTUNREACH"}},
		{"curl", []string{"sh", "-c", `for h in web gone far; do curl -sS http://$h.shop/x 2>&1; echo; done`}, []string{served, "curl: (7) Failed to connect to gone.shop port 80", "curl: (7) Failed to connect to far.shop port 80"}},
		{"curl with fast open", []string{"sh", "-c", `for h in web gone far; do curl -sS --tcp-fastopen http://$h.shop/x 2>&1; echo; done`}, []string{served, "curl: (7) Failed to connect to gone.shop port 80", "curl: (7) Failed to connect to far.shop port 80"}},
		{"node", []string{"node", "testdata/client.js"}, []string{served, "ECONNREFUSED", "EHOSTUNREACH", "fetched " + served, "lookup 10.96.7.8", "resolve4 10.96.7.8", "hostname web-0"}},
		{"static go", []string{program(t, "goclient"), "http://web.shop/x", "http://gone.shop/x", "http://far.shop/x"}, []string{served, "connection refused", "no route to host", "hostname web-0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for line := range strings.Lines(l.run(t, c.argv...)) {
				if line = strings.TrimSpace(line); line != "" {
					got = append(got, line)
				}
			}
			for i, want := range c.want {
				if i >= len(got) || !strings.HasPrefix(got[i], want) {
					t.Fatalf("got %q, want %q", got, c.want)
				}
			}
		})
	}
}

func TestUnameTellsTheTargetsHostname(t *testing.T) {
	l := newLab(t)
	if got := l.run(t, "uname", "-n"); got != hostname {
		t.Errorf("uname -n says %q", got)
	}
}

func TestLoopbackStaysLocal(t *testing.T) {
	l := newLab(t)
	host, port, err := net.SplitHostPort(echo(t, "local"))
	if err != nil {
		t.Fatal(err)
	}
	got := l.python(t, `
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print(s.recv(100).decode(), s.getpeername()[0], s.getsockname()[0])
`, host, port)
	if want := "local: 127.0.0.1 127.0.0.1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(l.pod.dialed) != 0 {
		t.Errorf("the pod was asked for %v", l.pod.dialed)
	}
}

func TestIOUringIsRefused(t *testing.T) {
	l := newLab(t)
	got := l.python(t, `
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
r = libc.syscall(425, 8, ctypes.create_string_buffer(256))
print(r, errno.errorcode[ctypes.get_errno()])
`)
	if want := "-1 ENOSYS"; got != want {
		t.Errorf("io_uring_setup: %s, want %s", got, want)
	}
}

func TestLocalResolversAreHidden(t *testing.T) {
	l := newLab(t)
	got := l.python(t, `
import socket, errno
for path in ("/var/run/nscd/socket", "/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"):
    print(errno.errorcode[socket.socket(socket.AF_UNIX).connect_ex(path)])
a, b = socket.socketpair(); a.send(b"x"); print(b.recv(1).decode())
s = socket.socket(socket.AF_UNIX); s.bind("\0podstep-test"); s.listen()
print(socket.socket(socket.AF_UNIX).connect_ex("\0podstep-test"))
`)
	if want := "ENOENT\nENOENT\nENOENT\nx\n0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
