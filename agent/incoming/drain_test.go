//go:build linux

package incoming

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/wire"
)

// TestPassedConnectionsGoOnBesideTheNextSession ends a session whose passed connections have all the time of a resident agent.
func TestPassedConnectionsGoOnBesideTheNextSession(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, "[::]:80")
	memory := NewMemory(16<<20, 4, nil)
	first := startFarEnd(t, Options{Memory: memory})
	first.on(refuse)
	first.steal(t, 80)
	addresses := []string{testpod.Pod4 + ":80", "[" + testpod.Pod6 + "]:80"}
	wants := []string{"target saw " + testpod.Client4, "target saw " + testpod.Client6}
	var passed []net.Conn
	for i, addr := range addresses {
		c := dial(t, client, addr)
		expect(t, c, wants[i])
		passed = append(passed, c)
	}
	life, end := context.WithCancel(t.Context())
	defer end()
	closed := make(chan error, 1)
	go func() { closed <- first.Subscriptions.Close(life) }()
	second := startFarEnd(t, Options{Memory: memory})
	second.on(chat)
	testpod.Eventually(t, "stolen by the next", func() bool {
		_, err := second.Subscribe(t.Context(), wire.SubscribeParams{Port: 80, Mode: wire.ModeSteal})
		return err == nil
	})
	expect(t, dial(t, client, addresses[0]), "debuggee saw "+testpod.Client4)
	for i, c := range passed {
		expect(t, c, wants[i])
	}
	// The second session's end does not touch them either.
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := second.Subscriptions.Close(over); err != nil {
		t.Error(err)
	}
	for i, c := range passed {
		expect(t, c, wants[i])
	}
	select {
	case err := <-closed:
		t.Fatalf("closed before its connections: %v", err)
	default:
	}
	end()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := passed[0].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the resident's end: %v", err)
	}
}
