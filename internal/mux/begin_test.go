package mux

import (
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"podstep.dev/internal/wire"
)

func TestBegunStreamCarriesBeforeTheAnswer(t *testing.T) {
	both(t, Options{}, func(t *testing.T, opener, server *Session) {
		got := make(chan string, 1)
		serve(t, server, func(st *Stream) {
			// The whole request, with its end, is there before anything is answered.
			text, err := io.ReadAll(st)
			if err != nil {
				t.Errorf("read: %v", err)
			}
			got <- string(text)
			_ = st.Opened(wire.Answer{})
			_, _ = st.Write([]byte("answer"))
			_ = st.CloseWrite()
			_ = st.Close()
		})
		st, err := opener.Begin(t.Context(), wire.Header{Kind: wire.KindIncoming}, []byte("first, "))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Write([]byte("early")); err != nil {
			t.Fatal(err)
		}
		if err := st.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if text := <-got; text != "first, early" {
			t.Errorf("the server read %q before it answered", text)
		}
		if err := st.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(st); string(text) != "answer" || err != nil {
			t.Errorf("read %q, %v", text, err)
		}
		_ = st.Close()
		gone(t, opener, server)
	})
}

func TestRefusalIsReturnedAfterEarlyWrites(t *testing.T) {
	both(t, Options{}, func(t *testing.T, opener, server *Session) {
		want := &wire.Refusal{Errno: syscall.ECONNREFUSED, Reason: wire.ReasonPaused}
		serve(t, server, func(st *Stream) { _ = st.Refuse(want) })
		for i := range 50 {
			st, err := opener.Begin(t.Context(), wire.Header{Kind: wire.KindIncoming}, nil)
			if err != nil {
				t.Fatal(err)
			}
			// The refusal may come before, between or after these.
			var failed error
			for range i % 4 {
				if _, err := st.Write(make([]byte, 16<<10)); err != nil {
					failed = err
				}
			}
			if failed != nil && !errors.Is(failed, syscall.ECONNRESET) {
				t.Errorf("early write: %v, want ECONNRESET or none", failed)
			}
			var refusal *wire.Refusal
			if err := st.Await(t.Context()); !errors.As(err, &refusal) || *refusal != *want {
				t.Fatalf("await: %v, want the refusal", err)
			}
		}
		gone(t, opener, server)
	})
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	adapter, agent := linked(t, 0, Options{})
	reset := make(chan error, 1)
	serve(t, agent, func(st *Stream) {
		_, err := io.Copy(io.Discard, st)
		reset <- err
		_ = st.Close()
	})
	st, err := adapter.Begin(t.Context(), wire.Header{Kind: wire.KindDial}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := st.Await(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("await: %v, want deadline exceeded", err)
	}
	if _, err := st.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("write after it: %v, want ECONNRESET", err)
	}
	if err := <-reset; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("server read %v, want ECONNRESET", err)
	}
	gone(t, adapter, agent)
}
