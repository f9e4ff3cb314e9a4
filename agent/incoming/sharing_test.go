//go:build linux

package incoming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

func TestSessionsShareAPortByTheirFilters(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, "[::]:80", nil)
	memory := NewMemory(16<<20, 256, nil)
	ports := NewPorts(nil, memory)
	session := func(name string) *farEnd {
		f := startFarEnd(t, Options{Memory: memory, Ports: ports, Holder: wire.Holder{Name: name, Session: name}})
		f.on(func(st *mux.Stream) {
			_ = st.Opened(wire.Answer{})
			_, _ = io.ReadAll(st)
			_ = wire.WriteFrame(st, wire.Outcome{}, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name))
			_ = st.CloseWrite()
			_ = st.Close()
		})
		return f
	}
	alice, bob, carol := session("alice"), session("bob"), session("carol")
	alice.stealRequests(t, "X-User: alice")
	bob.SetPaused(time.Date(2026, 1, 2, 10, 30, 0, 0, time.UTC))
	bob.stealRequests(t, "X-User: bob")
	for header, want := range map[string]string{
		"X-User: bob": "requests with header x-user = \"bob\"; they are the same filter; its debugger is paused since 10:30 UTC",
		"X-Team: red": "requests with header x-user = \"alice\"; ",
		"":            "requests with header x-user = \"alice\", and this session takes all; its debugger is not paused",
	} {
		_, err := carol.Subscribe(t.Context(), wantRequests(header))
		var refusal *wire.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != wire.ReasonTaken || !strings.Contains(refusal.Text, want) {
			t.Errorf("%q: %v, want %q", header, err, want)
		}
	}
	bob.SetPaused(time.Time{})
	c := talk(t, client)
	users := func(want map[string]string) {
		t.Helper()
		for user, who := range want {
			c.ask("GET / HTTP/1.1\r\nHost: shop\r\nX-User: "+user+"\r\n\r\n", who)
		}
	}
	users(map[string]string{"alice": "alice", "bob": "bob", "carol": "target"})
	closeNow(t, alice)
	users(map[string]string{"alice": "target", "bob": "bob", "carol": "target"})
	carol.stealRequests(t, "X-User: carol")
	users(map[string]string{"alice": "target", "bob": "bob", "carol": "carol"})
	closeNow(t, bob)
	closeNow(t, carol)
	users(map[string]string{"alice": "target", "bob": "target", "carol": "target"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ports.Close(ctx); err != nil {
		t.Error(err)
	}
}
