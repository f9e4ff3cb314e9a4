//go:build linux

package redirect

import (
	"context"
	"io"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
)

func TestSettleWaitsOnlyForHandshakesThatAreUnderWay(t *testing.T) {
	client := testpod.NewClient(t)
	for name, addr := range map[string]string{"IPv4": testpod.Pod4 + ":80", "IPv6": "[" + testpod.Pod6 + "]:80"} {
		t.Run(name, func(t *testing.T) {
			s, told := start(t, 80, Options{})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			// The last packet of the handshake is lost, with all that follow, until the rule goes.
			nft(t, client, "add table inet lossy")
			nft(t, client, "add chain inet lossy out { type filter hook output priority 0 ; }")
			nft(t, client, "add rule inet lossy out tcp dport 80 tcp flags & (syn | ack) == ack drop")
			c, err := client.Dial(addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, "hello")
			if err := s.Release(); err != nil {
				t.Fatal(err)
			}
			soon, stop := context.WithTimeout(ctx, 200*time.Millisecond)
			s.Settle(soon)
			if soon.Err() == nil {
				t.Error("settled while a handshake was under way")
			}
			stop()
			nft(t, client, "delete table inet lossy")
			s.Settle(ctx)
			if ctx.Err() != nil {
				t.Fatal("not settled when the handshake was over")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			select {
			case <-told:
			default:
				t.Error("the connection was not accepted")
			}
		})
	}
}

func TestSettleOfAnIdlePortTakesNoTime(t *testing.T) {
	s, _ := start(t, 80, Options{})
	if err := s.Release(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.Settle(t.Context())
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("settled after %s", d)
	}
}

func nft(t *testing.T, client *testpod.Client, command string) {
	t.Helper()
	if out, err := client.Command("nft", command).CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v: %s", command, err, out)
	}
}
