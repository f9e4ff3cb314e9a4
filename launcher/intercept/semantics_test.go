//go:build linux

package intercept_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/launcher/intercept"
)

func TestBlockingConnectKeepsItsTimeout(t *testing.T) {
	l := newLab(t)
	l.pod.route("10.96.7.7:1", route{target: echo(t, "late"), delay: 3 * time.Second})
	got := l.python(t, `
import socket, struct, errno, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200000))
t = time.monotonic(); e = s.connect_ex(("10.96.7.7", 1)); d = time.monotonic() - t
print(errno.errorcode[e], 0.15 < d < 2.5)
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 0))
print(s.connect_ex(("10.96.7.7", 1)), s.recv(10).decode(), errno.errorcode[s.connect_ex(("10.96.7.7", 1))])
`)
	if want := "EINPROGRESS True\n0 late: EISCONN"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A handler without SA_RESTART interrupts connect, which goes on in the background; one with SA_RESTART does not.
func TestInterruptedConnectGoesOn(t *testing.T) {
	l := newLab(t)
	l.pod.route("10.96.7.7:1", route{target: echo(t, "late"), delay: time.Second})
	l.pod.route("10.96.7.7:2", route{errno: unix.ECONNREFUSED, delay: time.Second})
	for port, want := range map[string]string{
		"1": "EINTR 0x4 0 EISCONN\n0 0",
		"2": "EINTR 0x1c ECONNREFUSED EINPROGRESS\nECONNREFUSED 0",
	} {
		if got := l.run(t, "/usr/bin/python3", "testdata/interrupted.py", port); got != want {
			t.Errorf("port %s: got %q, want %q", port, got, want)
		}
	}
}

func TestStoppedProcessGetsItsConnection(t *testing.T) {
	l := newLab(t)
	l.pod.route("10.96.7.7:1", route{target: echo(t, "api"), delay: 500 * time.Millisecond})
	d := l.start(t, intercept.All, "/usr/bin/python3", "-c", `
import socket
for i in range(3):
    s = socket.create_connection(("10.96.7.7", 1)); s.sendall(b"x"); b = b""
    while len(b) < 5: b += s.recv(10)
    print(b.decode(), flush=True)
`)
	pidfd, err := unix.PidfdOpen(d.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	ended := make(chan error, 1)
	go func() { ended <- d.wait() }()
	for {
		select {
		case err := <-ended:
			if got, want := d.out.String(), "api:x\napi:x\napi:x\n"; err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
			return
		case <-tick.C:
			_ = unix.PidfdSendSignal(pidfd, unix.SIGSTOP, nil, 0)
			_ = unix.PidfdSendSignal(pidfd, unix.SIGCONT, nil, 0)
		}
	}
}

// Signals that interrupt accept, recvfrom and connect all the time lose nothing.
func TestSignalStormLosesNothing(t *testing.T) {
	l := newLab(t)
	l.pod.names["api.shop"] = []string{"10.96.7.7"}
	l.pod.route("10.96.7.7:1", route{target: echo(t, "api"), delay: 5 * time.Millisecond})
	d := l.start(t, intercept.All, "/usr/bin/python3", "testdata/storm.py")
	l.listening(t)
	for i := range 100 {
		if got, want := l.request(t, 8080, ""), "('203.0.113.9', 4321)"; got != want {
			t.Fatalf("connection %d: got %q, want %q", i, got, want)
		}
	}
	if err := d.wait(); err != nil || strings.TrimSpace(d.out.String()) != "fine" {
		t.Errorf("got %v %q", err, d.out)
	}
}

// A closed socket must be gone at once: no event of its own in an epoll set, no port held.
func TestClosedSocketIsGone(t *testing.T) {
	l := newLab(t)
	l.pod.route("10.96.7.7:1", route{target: echo(t, "api"), delay: 2 * time.Millisecond})
	got := l.python(t, `
import select, socket
ep = select.epoll()
stale = 0
for i in range(300):
    s = socket.socket(); s.setblocking(False)
    ep.register(s.fileno(), select.EPOLLOUT | select.EPOLLIN | select.EPOLLET)
    s.connect_ex(("10.96.7.7", 1))
    if i % 2: ep.poll(0.002)
    fd = s.fileno(); s.close()
    for ev in ep.poll(0): stale += 1
print(stale)
for i in range(20):
    s = socket.socket(); s.bind(("", 8181)); s.listen(); s.settimeout(0.01)
    try: s.accept()
    except OSError: pass
    s.close()
print("bound")
`)
	if want := "0\nbound"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAbandonedDialIsCancelled(t *testing.T) {
	l := newLab(t)
	l.pod.route("10.96.7.7:1", route{target: echo(t, "api"), delay: 500 * time.Millisecond})
	l.pod.route("10.96.7.7:2", route{target: echo(t, "other"), delay: time.Hour})
	got := l.python(t, `
import socket
gone = []
for i in range(20):
    s = socket.socket(); s.setblocking(False); s.connect_ex(("10.96.7.7", 1)); gone.append(s.getsockname()[1]); s.close()
# take the ports of the abandoned sockets: nobody may come in there
taken = []
for p in gone:
    s = socket.socket()
    try: s.bind(("127.0.0.1", p))
    except OSError: continue # somebody else has it already
    s.listen(); s.settimeout(0.1); taken.append(s)
came = 0
for s in taken:
    try: s.accept(); came += 1
    except TimeoutError: pass
s = socket.socket(); s.setblocking(False); s.connect_ex(("10.96.7.7", 2))
print(came)
`)
	if want := "0"; got != want {
		t.Errorf("%s strangers came in", got)
	}
}

func TestServeEndsWithClose(t *testing.T) {
	l := newLab(t)
	d := l.start(t, intercept.All, "sleep", "1000")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-d.served; !errors.Is(err, intercept.ErrClosed) {
		t.Errorf("Serve after Close: %v", err)
	}
}

func TestMPTCPWaitsForTheVerdict(t *testing.T) {
	l := newLab(t)
	l.pod.route("10.96.7.7:1", route{target: echo(t, "api"), delay: 50 * time.Millisecond})
	l.pod.route("10.96.7.7:2", route{errno: unix.ECONNREFUSED, delay: 50 * time.Millisecond})
	got := l.python(t, `
import errno, select, socket
def name(e): return errno.errorcode.get(e, str(e))
for port in (1, 2):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    e = s.connect_ex(("10.96.7.7", port))
    print(name(e), *((s.recv(10).decode(), s.getpeername()[0], name(s.connect_ex(("10.96.7.7", port)))) if e == 0 else (name(s.connect_ex(("10.96.7.7", port))),)))
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); s.setblocking(False)
    e = s.connect_ex(("10.96.7.7", port))
    if e == errno.EINPROGRESS: p = select.poll(); p.register(s, select.POLLOUT); p.poll(20000); print("ready", name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
    else: print(name(e))
`)
	if want := "0 api: 10.96.7.7 EISCONN\nready 0\nECONNREFUSED ECONNREFUSED\nECONNREFUSED"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLastBytesArriveAfterTheProgramIsGone(t *testing.T) {
	l := newLab(t)
	got := make(chan string, 1)
	srv := listen(t, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	l.pod.route("10.96.7.7:1", route{target: srv})
	l.python(t, `
import os, socket
s = socket.create_connection(("10.96.7.7", 1)); s.sendall(b"last words" * 1000); os._exit(0)
`)
	select {
	case b := <-got:
		if b != strings.Repeat("last words", 1000) {
			t.Errorf("%d bytes arrived", len(b))
		}
	case <-time.After(patience):
		t.Error("nothing arrived")
	}
}
