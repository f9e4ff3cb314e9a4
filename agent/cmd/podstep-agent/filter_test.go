//go:build linux

package main

import (
	"io"
	"strings"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/wire"
)

// told adds up the notices of connections that filters cannot read.
func (a *agentProcess) told() map[wire.Unread]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	sums := map[wire.Unread]uint64{}
	for _, p := range a.unread {
		for why, n := range p.Connections {
			sums[why] += n
		}
	}
	return sums
}

func TestWhatAFilterCannotSeeIsTold(t *testing.T) {
	client := testpod.NewClient(t)
	target := python(t, nil)
	const before = 3
	for range before {
		c, err := client.Dial(web)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	a := startAgent(t, target.Process.Pid, "alice")
	p := wire.SubscribeParams{Port: 80, Requests: true, Filter: []byte(`{"header": {"x-user": "alice"}}`)}
	for mode, want := range map[wire.Mode]int{wire.ModeSteal: before, wire.ModeMirror: 0} {
		p.Mode = mode
		sub, err := a.client.Subscribe(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if sub.Existing != want {
			t.Errorf("%s: %d connections existed, want %d", mode, sub.Existing, want)
		}
		tls := a.told()[wire.UnreadTLS]
		c, err := client.Dial(web)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n"); err != nil {
			t.Fatal(err)
		}
		if answer, _ := io.ReadAll(c); !strings.Contains(string(answer), "400") {
			t.Errorf("%s: the target answered %.60q", mode, answer)
		}
		_ = c.Close()
		testpod.Eventually(t, string(mode)+": TLS is told of", func() bool { return a.told()[wire.UnreadTLS] == tls+1 })
		if err := a.client.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
			t.Fatal(err)
		}
	}
}
