package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

var (
	from = netip.MustParseAddrPort("203.0.113.9:4321")
	to   = netip.MustParseAddrPort("10.42.0.7:80")
)

// delivery is what Deliver was asked for.
type delivery struct {
	Port     uint16
	From, To netip.AddrPort
}

// serve starts tn at one end of a link and returns the agent's end. asked receives what is delivered; the debuggee is an
// echo, or refuses.
func serve(t *testing.T, tn *Tunnel, refuse error) (agent *mux.Session, asked chan delivery) {
	t.Helper()
	asked = make(chan delivery, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	tn.Deliver = func(ctx context.Context, port uint16, from, to netip.AddrPort) (splice.Conn, error) {
		asked <- delivery{port, from, to}
		if refuse != nil {
			return nil, refuse
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		if err != nil {
			return nil, err
		}
		return conn.(*net.TCPConn), nil
	}
	agent, _ = link(t, tn)
	return agent, asked
}

func incoming(kind wire.Kind) wire.Header {
	return wire.Header{Kind: kind, Port: 80, From: from, To: to, Subscription: 1}
}

func TestServeDeliversToTheDebuggeesPort(t *testing.T) {
	tn := &Tunnel{Ports: map[uint16]uint16{80: 8080}}
	agent, asked := serve(t, tn, nil)
	stream, err := agent.Open(t.Context(), incoming(wire.KindIncoming), []byte("first "))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(delivery{8080, from, to}, <-asked, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	if _, err := stream.Write([]byte("and last")); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(stream)
	if string(got) != "first and last" || err != nil {
		t.Errorf("the debuggee answered %q, %v", got, err)
	}
	testkit.Eventually(t, "it is counted", func() bool { return tn.Counts() == Counts{Delivered: 1} })
}

func TestServeRefuses(t *testing.T) {
	cases := []struct {
		name   string
		tunnel *Tunnel
		paused bool
		fail   error
		header wire.Header
		want   syscall.Errno
		reason wire.Reason
	}{
		{"while the debugger is stopped", &Tunnel{}, true, nil, incoming(wire.KindIncoming), syscall.EAGAIN, wire.ReasonPaused},
		{"a port that is not configured", &Tunnel{Ports: map[uint16]uint16{81: 8080}}, false, nil, incoming(wire.KindIncoming), syscall.ECONNREFUSED, ""},
		{"when nobody listens", &Tunnel{}, false, syscall.ECONNREFUSED, incoming(wire.KindIncoming), syscall.ECONNREFUSED, ""},
		{"what it does not know", &Tunnel{}, false, nil, wire.Header{Kind: "novel"}, syscall.EOPNOTSUPP, wire.ReasonUnsupported},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			agent, _ := serve(t, c.tunnel, c.fail)
			c.tunnel.SetPaused(c.paused)
			_, err := agent.Open(t.Context(), c.header, nil)
			var refusal *wire.Refusal
			if !errors.As(err, &refusal) || refusal.Errno != c.want || refusal.Reason != c.reason {
				t.Errorf("got %v, want %v with reason %q", err, c.want, c.reason)
			}
		})
	}
}

func TestServeDropsTheAnswersToACopy(t *testing.T) {
	agent, asked := serve(t, &Tunnel{}, nil)
	stream, err := agent.Open(t.Context(), incoming(wire.KindCopy), []byte("request"))
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	if err := stream.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(stream); len(got) != 0 || err != nil {
		t.Errorf("a copy was answered with %q, %v", got, err)
	}
}
