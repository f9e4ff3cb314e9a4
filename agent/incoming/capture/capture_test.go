package capture

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"podstep.dev/internal/testkit"
)

// discard serves a port of the target: it reads everything and ends when the client does.
func discard(t *testing.T, network, address string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func dial(t *testing.T, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func localOf(c net.Conn) netip.AddrPort { return c.LocalAddr().(*net.TCPAddr).AddrPort() }

func TestCopyIsExact(t *testing.T) {
	for name, address := range map[string]string{"IPv4": "127.0.0.1:0", "IPv6": "[::1]:0"} {
		for _, size := range []int{1, 1 << 10, 100_000, 10 << 20} {
			t.Run(name, func(t *testing.T) {
				server := discard(t, "tcp", address)
				var got sinks
				c := start(t, got.deliver, Options{}, server.Port())
				client := dial(t, server)
				want := random(size)
				if _, err := client.Write(want); err != nil {
					t.Fatal(err)
				}
				if err := client.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				k := got.ended(t, 1)[0]
				if k.from != localOf(client) || k.to != server {
					t.Errorf("copy of %v -> %v, want %v -> %v", k.from, k.to, localOf(client), server)
				}
				if fin, reset := k.state(); !fin || reset {
					t.Errorf("ended with fin=%v reset=%v, want a FIN; %+v", fin, reset, c.Stats())
				}
				if !bytes.Equal(k.bytes(), want) {
					t.Errorf("copied %d bytes, want the %d sent", len(k.bytes()), len(want))
				}
			})
		}
	}
}

func TestOrdinaryUserMayCapture(t *testing.T) {
	testkit.AsOrdinaryUser(t, "TestCopyIsExact|TestRequest|TestMany|TestOtherPorts|TestKernelDrops")
}
