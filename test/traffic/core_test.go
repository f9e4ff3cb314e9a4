//go:build linux

package traffic

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// TestCallsOfTheCCore : a client of gRPC's C-core has the calls that a filter wants answered by one of its servers, and all others by another, on one
// channel: all kinds of calls, large messages, metadata, statuses, deadlines, cancellation.
func TestCallsOfTheCCore(t *testing.T) {
	if out, err := exec.CommandContext(t.Context(), "python3", "-c", "import grpc").CombinedOutput(); err != nil {
		t.Skipf("needs the Python module grpc: %v: %.200s", err, out)
	}
	target, debuggee := coreServer(t, "target"), coreServer(t, "debuggee")
	s := &stage{tunnel: &tunnel.Tunnel{
		Pause: tunnel.Pause{Policy: wire.PauseReject},
		Deliver: func(ctx context.Context, _ uint16, _, _ netip.AddrPort) (splice.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+debuggee)
			if err != nil {
				return nil, err
			}
			return conn.(*net.TCPConn), nil
		},
	}}
	s.link(t)
	_, err := s.subscriptions.Subscribe(t.Context(), wire.SubscribeParams{
		Port: portOf("127.0.0.1:" + target), Mode: wire.ModeSteal, Loopback: true, Requests: true, OnPause: wire.PauseReject,
		Filter: json.RawMessage(`{"header": {"x-user": "alice"}}`),
	})
	check(t, err)
	client := exec.CommandContext(t.Context(), "python3", "testdata/core.py", "ask", target)
	var said bytes.Buffer
	client.Stderr = &said
	out, err := client.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	var answers []struct{ What, Who, Got string }
	check(t, json.Unmarshal(out, &answers))
	if len(answers) != 20*8+100 {
		t.Errorf("%d calls were made", len(answers))
	}
	for i, a := range answers {
		if a.Got != "ok" {
			t.Errorf("call %d, %s, which is the %s's: %s", i, a.What, a.Who, a.Got)
		}
	}
	if n := s.tunnel.Counts().Delivered; n < int64(len(answers))/2-10 {
		t.Errorf("%d requests were delivered to the debuggee", n)
	}
}

// coreServer serves until the test ends, and returns its port.
func coreServer(t *testing.T, name string) string {
	t.Helper()
	server := exec.CommandContext(t.Context(), "python3", "testdata/core.py", "serve", name)
	in, err := server.StdinPipe()
	check(t, err)
	out, err := server.StdoutPipe()
	check(t, err)
	check(t, server.Start())
	t.Cleanup(func() { _ = in.Close(); _ = server.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	check(t, err)
	return strings.TrimSpace(line)
}
