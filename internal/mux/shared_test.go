package mux

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// pair is a link whose agent's end has a part of shared.
func pair(t *testing.T, shared *Budget) (adapter, agent *Session) {
	t.Helper()
	a, b := testkit.Pair(t)
	return sessions(t, a, b, Options{}, Options{Shared: shared})
}

func (p *Budget) standing() (unread, served, sessions int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unread, p.served, len(p.sessions)
}

// flood opens n streams that nobody reads at the other end, each with a writer that ends with its stream.
func flood(t *testing.T, adapter *Session, n int) (results chan error) {
	t.Helper()
	results = make(chan error, n)
	for range n {
		st := mustOpen(t, adapter, nil)
		go func() {
			chunk := make([]byte, 64<<10)
			for {
				if _, err := st.Write(chunk); err != nil {
					_ = st.Close()
					results <- err
					return
				}
			}
		}()
	}
	return results
}

func TestSharedBudgetTakesFromWhoeverHasMost(t *testing.T) {
	shared := NewBudget(4<<20, 100)
	greedy, greedyAgent := pair(t, shared)
	modest, modestAgent := pair(t, shared)
	unreadStream := func(st *Stream) {
		_ = st.Opened(wire.Answer{})
		<-st.session.Done()
		_ = st.Close()
	}
	serve(t, greedyAgent, unreadStream)
	kept := make(chan *Stream, 1)
	serve(t, modestAgent, func(st *Stream) { _ = st.Opened(wire.Answer{}); kept <- st })
	// The modest session's bytes lie unread too, before and while the other floods.
	st := mustOpen(t, modest, nil)
	want := random(200 << 10)
	if _, err := st.Write(want); err != nil {
		t.Fatal(err)
	}
	far := <-kept
	testkit.Eventually(t, "the modest session's bytes are there", func() bool { return unread(modestAgent) >= len(want) })
	results := flood(t, greedy, 30)
	if err := <-results; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a writer of the flood: %v, want ECONNRESET", err)
	}
	if n, _, _ := shared.standing(); n > 2<<20 {
		t.Errorf("%d bytes unread, at most %d allowed", n, 2<<20)
	}
	_ = st.CloseWrite()
	if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the modest session's stream: %d bytes, %v", len(got), err)
	}
	_ = far.Close()
	_ = st.Close()
	// With the greedy session all that it had is free again.
	_ = greedy.Close()
	_ = greedyAgent.Close()
	testkit.Eventually(t, "the budget is free", func() bool {
		n, served, sessions := shared.standing()
		return n == 0 && served == 0 && sessions == 1
	})
	for range 29 {
		<-results
	}
	gone(t, modest, modestAgent)
}

func TestSharedBudgetBoundsTheStreamsOfAllSessions(t *testing.T) {
	shared := NewBudget(4<<20, 3)
	first, firstAgent := pair(t, shared)
	second, secondAgent := pair(t, shared)
	release := make(chan struct{})
	held := func(st *Stream) { _ = st.Opened(wire.Answer{}); <-release; _ = st.Close() }
	serve(t, firstAgent, held)
	serve(t, secondAgent, held)
	for _, s := range []*Session{first, second, first} {
		mustOpen(t, s, nil)
	}
	for _, s := range []*Session{first, second} {
		if _, err := s.Open(t.Context(), wire.Header{Kind: wire.KindDial}, nil); !errors.Is(err, syscall.EAGAIN) {
			t.Errorf("a stream too many: %v, want EAGAIN", err)
		}
	}
	close(release)
	testkit.Eventually(t, "room again", func() bool {
		st, err := second.Open(t.Context(), wire.Header{Kind: wire.KindDial}, nil)
		if err != nil {
			return false
		}
		_ = st.Close()
		return true
	})
}
