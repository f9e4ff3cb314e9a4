package capture

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/splice"
)

// foreignSteal is the table of somebody else's session (see agent/incoming): SYNs to the port go to a transparent
// listener on loopback, and what it passes on is marked and gets its client's address back.
const foreignSteal = `
table inet foreign {
	map clients { type inet_service : ipv4_addr; }
	chain steal { type filter hook prerouting priority mangle; policy accept;
		meta mark 0x5053 accept
		meta nfproto ipv4 tcp dport %d ct state new tproxy ip to 127.0.0.1:%d accept
	}
	chain passthrough { type nat hook postrouting priority srcnat; policy accept;
		meta mark 0x5053 meta nfproto ipv4 snat ip to tcp sport map @clients
	}
}
`

// stealForeign steals the port and passes every connection through to the target.
func stealForeign(t *testing.T, port uint16) (stolen func() int) {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		controlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1) })
		if controlErr != nil {
			return controlErr
		}
		return err
	}}
	l, err := config.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nft := exec.CommandContext(t.Context(), "nft", "-f", "-")
	nft.Stdin = strings.NewReader(fmt.Sprintf(foreignSteal, port, l.Addr().(*net.TCPAddr).Port))
	run(t, nft)
	n := make(chan int, 1)
	n <- 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n <- 1 + <-n
			if err := passThrough(t.Context(), c.(*net.TCPConn)); err != nil {
				t.Errorf("pass through: %v", err)
			}
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		_ = exec.Command("nft", "delete", "table", "inet", "foreign").Run()
	})
	return func() int { v := <-n; n <- v; return v }
}

func passThrough(ctx context.Context, c *net.TCPConn) error {
	dialer := net.Dialer{Control: func(_, _ string, r syscall.RawConn) error {
		var err error
		controlErr := r.Control(func(fd uintptr) {
			if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, Mark); err == nil {
				err = unix.Bind(int(fd), &unix.SockaddrInet4{})
			}
			name, nameErr := unix.Getsockname(int(fd))
			if err == nil {
				err = nameErr
			}
			if err == nil {
				from := c.RemoteAddr().(*net.TCPAddr).IP
				element := fmt.Sprintf("{ %d : %s }", name.(*unix.SockaddrInet4).Port, from)
				err = exec.Command("nft", "add", "element", "inet", "foreign", "clients", element).Run()
			}
		})
		if controlErr != nil {
			return controlErr
		}
		return err
	}}
	to, err := dialer.DialContext(ctx, "tcp4", c.LocalAddr().String())
	if err != nil {
		splice.Reset(c)
		return err
	}
	_, err = splice.Join(ctx, c, to.(*net.TCPConn), splice.Options{})
	return err
}

func TestRequestBesideAStealIsCopiedOnce(t *testing.T) {
	port := servers(t)["python"]
	far := outside(t)
	for _, path := range []struct {
		name, host, from string
		curl             func(string, ...string) *exec.Cmd
	}{
		{"from outside", inner4, outer4, far},
		{"own address", inner4, inner4, here(t)},
	} {
		t.Run(path.name, func(t *testing.T) {
			stolen := stealForeign(t, port)
			var got sinks
			c := start(t, got.deliver, Options{}, port)
			want := post(t, path.curl, path.host, port)
			if stolen() != 1 {
				t.Fatalf("%d connections stolen, want 1", stolen())
			}
			copied := requests(t, got.ended(t, 1))
			for _, w := range want {
				if copied[w] != netip.MustParseAddr(path.from) {
					t.Errorf("request %s copied from %v, want %v", w.path, copied[w], path.from)
				}
			}
			if s := c.Stats(); s.Copied != 1 || s.Older != 0 || s.Connections != 0 {
				t.Errorf("stats %+v, want one copy and nothing else", s)
			}
		})
	}
}

func TestOtherPortsAndMarkedConnectionsAreNotSeen(t *testing.T) {
	watched, other := discard(t, "tcp", "127.0.0.1:0"), discard(t, "tcp", "127.0.0.1:0")
	var got sinks
	c := start(t, got.deliver, Options{}, watched.Port())
	send := func(to netip.AddrPort, mark int) {
		d := net.Dialer{Control: func(_, _ string, r syscall.RawConn) error {
			return r.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
		}}
		conn, err := d.DialContext(t.Context(), "tcp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, to.String()); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	send(other, 0)
	send(watched, Mark)
	send(watched, 1)
	if k := got.ended(t, 1)[0]; string(k.bytes()) != watched.String() {
		t.Errorf("copied %q", k.bytes())
	}
	if err := c.Watch([]Port{{Number: other.Port()}}); err != nil {
		t.Fatal(err)
	}
	send(watched, 0)
	send(other, 0)
	if k := got.ended(t, 2)[1]; string(k.bytes()) != other.String() {
		t.Errorf("copied %q", k.bytes())
	}
}
