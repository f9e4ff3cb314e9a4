//go:build linux

package outgoing

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/wire"
)

// full returns the address of a listener whose queue is full, so that connecting to it takes for ever.
func full(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*unix.SockaddrInet4).Port))
	for range 8 {
		c, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the queue takes more than 8 connections")
	return addr
}

func TestDialEndsWithItsStream(t *testing.T) {
	adapter, ended := link(t, Options{})
	addr := full(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := adapter.Open(ctx, wire.Header{Kind: wire.KindDial, Address: addr}, []byte("early")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("open: %v", err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the agent still dials for nobody")
	}
}

func TestDialPassesFirstBytesHalfCloseAndReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	adapter, _ := link(t, Options{})
	header := wire.Header{Kind: wire.KindDial, Address: netip.MustParseAddrPort(l.Addr().String())}

	st, err := adapter.Open(t.Context(), header, []byte("first "))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(st, "second")
	_ = st.CloseWrite()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.RemoteAddr().String(); got != st.Answer.Local.String() {
		t.Errorf("the listener sees %s, the dialler is told %s", got, st.Answer.Local)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "first second" {
		t.Errorf("read %q, %v", got, err)
	}
	_, _ = io.WriteString(c, "answer after the end")
	_ = c.Close()
	if got, err := io.ReadAll(st); err != nil || string(got) != "answer after the end" {
		t.Errorf("answer %q, %v", got, err)
	}
	_ = st.Close()

	if st, err = adapter.Open(t.Context(), header, nil); err != nil {
		t.Fatal(err)
	}
	if c, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	st.Reset()
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after a reset the listener reads %v", err)
	}
	_ = c.Close()

	if st, err = adapter.Open(t.Context(), header, nil); err != nil {
		t.Fatal(err)
	}
	if c, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
	if _, err := io.ReadAll(st); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the listener's reset the dialler reads %v", err)
	}
	_ = st.Close()
}

func TestDialWithoutAnAddressIsRefused(t *testing.T) {
	adapter, _ := link(t, Options{})
	if _, err := adapter.Open(t.Context(), wire.Header{Kind: wire.KindDial}, nil); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("open: %v", err)
	}
}
