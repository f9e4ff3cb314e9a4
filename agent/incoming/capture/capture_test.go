package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/splice"
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

func TestStartNeedsItsCapability(t *testing.T) {
	failed := make(chan error)
	go func() {
		// The thread ends with the goroutine, since it is not unlocked.
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			failed <- err
			return
		}
		_, err := Start(t.Context(), []Port{{Number: 80}}, nil, Options{})
		failed <- err
	}()
	if err := <-failed; !errors.Is(err, syscall.EPERM) {
		t.Errorf("started without CAP_NET_RAW: %v, want EPERM", err)
	}
}

func TestStartChecksPorts(t *testing.T) {
	for _, n := range []int{0, maxPorts + 1} {
		if c, err := Start(t.Context(), make([]Port, n), nil, Options{}); err == nil {
			t.Errorf("started with %d ports", n)
			_ = c.Close()
		}
	}
	many := make([]uint16, maxPorts)
	for i := range many {
		many[i] = uint16(20000 + i)
	}
	server := discard(t, "tcp", "127.0.0.1:0")
	many[maxPorts/2] = server.Port()
	var got sinks
	start(t, got.deliver, Options{}, many...)
	c := dial(t, server)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if k := got.ended(t, 1)[0]; string(k.bytes()) != "hello" {
		t.Errorf("copied %q", k.bytes())
	}
}

func TestCloseResetsCopiesAndOpeners(t *testing.T) {
	server := discard(t, "tcp", "127.0.0.1:0")
	var got sinks
	opening := make(chan struct{}, 1)
	deliver := func(ctx context.Context, o Origin) (splice.Conn, error) {
		if len(got.snapshot()) > 0 {
			opening <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return got.deliver(ctx, o)
	}
	c, err := Start(t.Context(), []Port{{Number: server.Port()}}, deliver, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := dial(t, server).Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "copy begun", func() bool { return len(got.snapshot()) == 1 })
	}
	<-opening
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, reset := got.snapshot()[0].state(); !reset {
		t.Error("the copy was not reset")
	}
}
