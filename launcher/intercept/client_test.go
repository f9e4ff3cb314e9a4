//go:build linux

package intercept_test

import (
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
		got := strings.Fields(l.python(t, `
import socket, select, errno
def name(e): return errno.errorcode.get(e, str(e))
def blocking():
    s = socket.socket()
    return name(s.connect_ex(("10.96.7.7", 1))), name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
def nonblocking():
    s = socket.socket(); s.setblocking(False)
    a = s.connect_ex(("10.96.7.7", 1))
    b = s.connect_ex(("10.96.7.7", 1))
    p = select.poll(); p.register(s, select.POLLOUT)
    ev = p.poll(20000)[0][1]
    return name(a), name(b), bool(ev & select.POLLERR), name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)), name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
def again():
    s = socket.socket(); s.setblocking(False)
    a = s.connect_ex(("10.96.7.7", 1))
    p = select.poll(); p.register(s, select.POLLOUT); p.poll(20000)
    return name(a), name(s.connect_ex(("10.96.7.7", 1)))
print(*blocking(), *nonblocking(), *again())
`))
		e := unix.ErrnoName(errno)
		want := []string{e, "0", "EINPROGRESS", "EALREADY", "True", e, "0", "EINPROGRESS", e}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", e, diff)
		}
	}
}
