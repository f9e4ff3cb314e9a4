package mux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// transports are what a session runs over in these tests.
var transports = map[string]func(t testing.TB) (a, b io.ReadWriteCloser){
	"socket": func(t testing.TB) (a, b io.ReadWriteCloser) { return testkit.Pair(t) },
	"pipe":   func(testing.TB) (a, b io.ReadWriteCloser) { return net.Pipe() },
	"slow":   func(t testing.TB) (a, b io.ReadWriteCloser) { return testkit.Delayed(t, 5*time.Millisecond) },
}

// both runs test over every transport, with streams opened by either side.
func both(t *testing.T, opts Options, test func(t *testing.T, opener, server *Session)) {
	t.Helper()
	for name, transport := range transports {
		for _, side := range []Side{AdapterSide, AgentSide} {
			t.Run(fmt.Sprintf("%s adapter=%v", name, side), func(t *testing.T) {
				a, b := transport(t)
				opener, server := sessions(t, a, b, opts, opts)
				if side == AgentSide {
					opener, server = server, opener
				}
				test(t, opener, server)
			})
		}
	}
}

// serve has the session serve streams with handle until the test ends.
func serve(t *testing.T, s *Session, handle func(*Stream)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(handle)
	}()
	t.Cleanup(func() { _ = s.Close(); <-done })
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

func TestStreamCarriesBothWaysAndHalfCloses(t *testing.T) {
	both(t, Options{}, func(t *testing.T, opener, server *Session) {
		serve(t, server, func(st *Stream) {
			_ = st.Opened(wire.Answer{})
			got, err := io.ReadAll(st)
			if err != nil {
				t.Errorf("read: %v", err)
			}
			// The other half still carries.
			_, _ = st.Write(got)
			_ = st.CloseWrite()
			_ = st.Close()
		})
		want := random(3 << 20)
		st := mustOpen(t, opener, want[:10])
		if _, err := st.Write(want[10:]); err != nil {
			t.Fatal(err)
		}
		if err := st.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write after CloseWrite: %v, want EPIPE", err)
		}
		got, err := io.ReadAll(st)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes, %v, want the %d written", len(got), err, len(want))
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		gone(t, opener, server)
	})
}

// gone checks that neither end keeps anything of its streams.
func gone(t *testing.T, sessions ...*Session) {
	t.Helper()
	testkit.Eventually(t, "streams forgotten", func() bool {
		for _, s := range sessions {
			s.mu.Lock()
			streams := len(s.streams)
			s.mu.Unlock()
			s.budget.mu.Lock()
			accounts, unread := len(s.budget.accounts), s.budget.unread
			s.budget.mu.Unlock()
			// What remains is the stream of signals.
			if streams != 0 || accounts != 1 || s.ym.NumStreams() != 1 || unread > 0 {
				return false
			}
		}
		return true
	})
}

// oneWrite counts writes.
type oneWrite struct {
	io.ReadWriteCloser
	writes chan []byte
}

func (o oneWrite) Write(b []byte) (int, error) {
	o.writes <- bytes.Clone(b)
	return o.ReadWriteCloser.Write(b)
}

func TestHeaderAndFirstBytesTravelTogether(t *testing.T) {
	a, b := testkit.Pair(t)
	writes := make(chan []byte, 100)
	adapter, agent := sessions(t, oneWrite{a, writes}, b, Options{}, Options{})
	first := make(chan []byte, 1)
	serve(t, agent, func(st *Stream) {
		b := make([]byte, 100)
		n, _ := st.Read(b)
		first <- b[:n]
		_ = st.Opened(wire.Answer{})
		_ = st.Close()
	})
	_ = mustOpen(t, adapter, []byte("first bytes")).Close()
	if got := <-first; string(got) != "first bytes" {
		t.Errorf("the server's first read is %q", got)
	}
	for w := range writes {
		if bytes.Contains(w, []byte("first bytes")) {
			if !bytes.Contains(w, []byte(`"kind":"dial"`)) || w[1] != frameData {
				t.Errorf("first bytes written as %q, want frame, header and bytes in one write", w)
			}
			return
		}
	}
}

func TestRefusalIsReturned(t *testing.T) {
	both(t, Options{}, func(t *testing.T, opener, server *Session) {
		want := &wire.Refusal{Errno: syscall.ECONNREFUSED, Reason: wire.ReasonPaused, Text: "nobody listens"}
		serve(t, server, func(st *Stream) {
			if err := st.Refuse(want); err != nil {
				t.Errorf("refuse: %v", err)
			}
		})
		for range 100 {
			_, err := opener.Open(t.Context(), wire.Header{Kind: wire.KindIncoming, Port: 80}, []byte("GET /"))
			var refusal *wire.Refusal
			if !errors.As(err, &refusal) || *refusal != *want || !errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatalf("open: %v, want the refusal", err)
			}
		}
		gone(t, opener, server)
	})
}

func TestResetReachesBothWays(t *testing.T) {
	both(t, Options{}, func(t *testing.T, opener, server *Session) {
		for name, end := range map[string]func(*Stream){
			"Reset": (*Stream).Reset,
			"Close": func(st *Stream) { _ = st.Close() },
		} {
			for _, byOpener := range []bool{true, false} {
				there := make(chan *Stream, 1)
				serveOne := func(st *Stream) {
					_ = st.Opened(wire.Answer{})
					there <- st
				}
				once(t, server, serveOne)
				near := mustOpen(t, opener, nil)
				far := <-there
				if !byOpener {
					near, far = far, near
				}
				if _, err := near.Write([]byte("last words")); err != nil {
					t.Fatal(err)
				}
				end(near)
				if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s: own read: %v, want ECONNRESET", name, err)
				}
				if _, err := near.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s: own write: %v, want ECONNRESET", name, err)
				}
				got, err := io.ReadAll(far)
				if string(got) != "last words" || !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s: other end read %q, %v, want what was written, then ECONNRESET", name, got, err)
				}
				if _, err := far.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s: other end's write: %v, want ECONNRESET", name, err)
				}
				_ = far.Close()
			}
		}
		gone(t, opener, server)
	})
}

// once serves one stream.
func once(t *testing.T, s *Session, handle func(*Stream)) {
	t.Helper()
	go func() {
		if ys, err := s.ym.AcceptStream(); err == nil {
			s.serve(s.track(ys), handle)
		}
	}()
}

func TestResetUnblocksWriterAndReader(t *testing.T) {
	both(t, Options{}, func(t *testing.T, opener, server *Session) {
		there := make(chan *Stream, 1)
		serve(t, server, func(st *Stream) { _ = st.Opened(wire.Answer{}); there <- st })
		st := mustOpen(t, opener, nil)
		far := <-there
		var group errgroup.Group
		fails := func(what string, call func([]byte) (int, error)) {
			group.Go(func() error {
				for {
					if _, err := call(make([]byte, 1<<20)); err != nil {
						if !errors.Is(err, syscall.ECONNRESET) {
							return fmt.Errorf("%s: %w, want ECONNRESET", what, err)
						}
						return nil
					}
				}
			})
		}
		fails("write", st.Write)
		fails("read", st.Read)
		fails("other end's write", far.Write)
		testkit.Eventually(t, "writer blocked", func() bool {
			server.budget.mu.Lock()
			defer server.budget.mu.Unlock()
			return server.budget.unread >= floor-wire.MaxFrame
		})
		far.Reset()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		st.Reset()
		gone(t, opener, server)
	})
}

func TestManyResetsAreAllTold(t *testing.T) {
	adapter, agent := linked(t, 10*time.Millisecond, Options{Streams: 10_000})
	const n = 6000
	results := make(chan error, n)
	serve(t, agent, func(st *Stream) {
		_ = st.Opened(wire.Answer{})
		_, err := io.Copy(io.Discard, st)
		results <- err
		_ = st.Close()
	})
	streams := make([]*Stream, n)
	var group errgroup.Group
	group.SetLimit(500)
	for i := range streams {
		group.Go(func() (err error) {
			streams[i], err = adapter.Open(t.Context(), wire.Header{Kind: wire.KindDial}, nil)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, st := range streams {
		st.Reset()
	}
	for range n {
		if err := <-results; !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("other end read %v, want ECONNRESET", err)
		}
	}
	gone(t, adapter, agent)
}

func TestResetBeforeTheStreamIsServedIsKept(t *testing.T) {
	adapter, agent := linked(t, 0, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error, 1)
	go func() {
		_, err := adapter.Open(ctx, wire.Header{Kind: wire.KindDial}, []byte("first"))
		opened <- err
	}()
	testkit.Eventually(t, "stream arrived", func() bool { return agent.ym.NumStreams() == 2 })
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Fatalf("open: %v, want canceled", err)
	}
	testkit.Eventually(t, "reset arrived", func() bool {
		agent.budget.mu.Lock()
		defer agent.budget.mu.Unlock()
		a := agent.budget.accounts[3]
		return a == nil || a.reset
	})
	serve(t, agent, func(st *Stream) { t.Errorf("served %v of a stream that was reset", st.Header) })
	gone(t, adapter, agent)
}

func TestOpenEndsWithItsContext(t *testing.T) {
	both(t, Options{}, func(t *testing.T, opener, server *Session) {
		reset := make(chan error, 1)
		serve(t, server, func(st *Stream) {
			// Never answers.
			_, err := io.Copy(io.Discard, st)
			reset <- err
			_ = st.Close()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := opener.Open(ctx, wire.Header{Kind: wire.KindDial}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("open: %v, want deadline exceeded", err)
		}
		if err := <-reset; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("server read %v, want ECONNRESET", err)
		}
		gone(t, opener, server)
	})
}

func TestManyStreamsAtOnce(t *testing.T) {
	both(t, Options{}, func(t *testing.T, opener, server *Session) {
		serve(t, server, echo)
		var group errgroup.Group
		for i := range 1000 {
			group.Go(func() error {
				st, err := opener.Open(t.Context(), wire.Header{Kind: wire.KindDial}, nil)
				if err != nil {
					return err
				}
				want := random(1 + i*7)
				if _, err := st.Write(want); err != nil {
					return err
				}
				if err := st.CloseWrite(); err != nil {
					return err
				}
				got, err := io.ReadAll(st)
				if err != nil || !bytes.Equal(got, want) {
					return fmt.Errorf("stream %d: %d bytes, %w", i, len(got), err)
				}
				return st.Close()
			})
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		gone(t, opener, server)
	})
}

func TestTooManyStreamsAreRefused(t *testing.T) {
	both(t, Options{Streams: 2}, func(t *testing.T, opener, server *Session) {
		serve(t, server, echo)
		a, b := mustOpen(t, opener, nil), mustOpen(t, opener, nil)
		if _, err := opener.Open(t.Context(), wire.Header{Kind: wire.KindDial}, nil); !errors.Is(err, syscall.EAGAIN) {
			t.Errorf("third stream: %v, want EAGAIN", err)
		}
		_, _ = a.Close(), b.Close()
		gone(t, opener, server)
		_ = mustOpen(t, opener, nil).Close()
	})
}
