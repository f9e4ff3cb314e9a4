package mux

import (
	"io"
	"testing"
	"time"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// delays are added to the round trip of the link.
var delays = map[string]time.Duration{"0ms": 0, "20ms": 20 * time.Millisecond}

func BenchmarkBulk(b *testing.B) {
	for name, delay := range delays {
		b.Run(name, func(b *testing.B) {
			adapter, agent := linked(b, delay, Options{})
			go func() { _ = agent.Serve(drain) }()
			st := mustOpen(b, adapter, nil)
			chunk := make([]byte, 64<<10)
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := st.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
			// The rest must arrive too.
			if err := st.CloseWrite(); err != nil {
				b.Fatal(err)
			}
			if _, err := st.Read(chunk); err != io.EOF {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkPingPong(b *testing.B) {
	for name, delay := range delays {
		b.Run(name, func(b *testing.B) {
			adapter, agent := linked(b, delay, Options{})
			go func() { _ = agent.Serve(echo) }()
			st := mustOpen(b, adapter, nil)
			ping := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := st.Write(ping); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(st, ping); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	adapter, agent := linked(b, 0, Options{})
	go func() { _ = agent.Serve(echo) }()
	b.ReportAllocs()
	for b.Loop() {
		_ = mustOpen(b, adapter, []byte("GET / HTTP/1.1\r\n\r\n")).Close()
	}
}

// linked returns the two ends of a session over a unix socket pair with delay added to its round trip.
func linked(t testing.TB, delay time.Duration, opts Options) (adapter, agent *Session) {
	t.Helper()
	a, b := testkit.Pair(t)
	if delay > 0 {
		a, b = testkit.Delayed(t, delay/2)
	}
	return sessions(t, a, b, opts, opts)
}

func mustOpen(t testing.TB, s *Session, first []byte) *Stream {
	t.Helper()
	st, err := s.Open(t.Context(), wire.Header{Kind: wire.KindDial}, first)
	if err != nil {
		t.Fatal(err)
	}
	return st
}
