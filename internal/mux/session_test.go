package mux

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

func TestStartTellsWhoThePeerIs(t *testing.T) {
	a, b := net.Pipe()
	hello := func(program string) wire.Hello { return wire.Hello{Program: program, Holder: "alice@laptop"} }
	adapter, agent := sessions(t, a, b, Options{Hello: hello("podstep 0.1.0")}, Options{Hello: hello("podstep-agent 0.1.0")})
	want := wire.Hello{Major: wire.Major, Minor: wire.Minor, Program: "podstep-agent 0.1.0", Holder: "alice@laptop"}
	if diff := cmp.Diff(want, adapter.Peer); diff != "" {
		t.Error(diff)
	}
	want.Program = "podstep 0.1.0"
	if diff := cmp.Diff(want, agent.Peer); diff != "" {
		t.Error(diff)
	}
}

func TestStartSkipsForeignTextBeforeTheGreeting(t *testing.T) {
	a, b := testkit.Pair(t)
	if _, err := io.WriteString(b, "Defaulted container \"web\" out of: web, sidecar\r\n\x00pod"); err != nil {
		t.Fatal(err)
	}
	adapter, agent := sessions(t, a, b, Options{}, Options{})
	serve(t, agent, echo)
	_ = mustOpen(t, adapter, nil).Close()
}

func TestStartFailsWhen(t *testing.T) {
	var version *wire.VersionError
	for name, c := range map[string]struct {
		silent bool
		peer   func(io.ReadWriter)
		want   func(error) bool
	}{
		"the peer speaks another major version": {
			false, func(c io.ReadWriter) { _ = wire.WriteHello(c, wire.Hello{Major: wire.Major + 1, Program: "podstep 9"}) },
			func(err error) bool { return errors.As(err, &version) && version.Peer.Program == "podstep 9" },
		},
		"the peer says nothing": {
			true, func(io.ReadWriter) {},
			func(err error) bool { return errors.Is(err, context.DeadlineExceeded) },
		},
		"the peer says only other things": {
			false, func(c io.ReadWriter) {
				_, _ = io.WriteString(c, strings.Repeat("sh: not found\n", wire.MaxPreamble/10))
			},
			func(err error) bool { return errors.Is(err, wire.ErrFrame) },
		},
		"the peer ends after some words": {
			false, func(c io.ReadWriter) {
				_, _ = io.WriteString(c, "sh: podstep-agent: not found\n")
				_ = c.(io.Closer).Close()
			},
			func(err error) bool { return strings.Contains(err.Error(), "podstep-agent: not found") },
		},
		"the greeting is garbage": {
			false, func(c io.ReadWriter) { _, _ = io.WriteString(c, "\x00podstep\xff\r\n\x00\x05hello") },
			func(err error) bool { return errors.Is(err, wire.ErrFrame) },
		},
		"the peer greets and opens no stream of signals": {
			true, func(c io.ReadWriter) { _ = wire.WriteHello(c, wire.Hello{}) },
			func(err error) bool { return errors.Is(err, context.DeadlineExceeded) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := testkit.Pair(t)
			go func() { _, _ = io.Copy(io.Discard, b) }()
			c.peer(b)
			timeout := testkit.Patience
			if c.silent {
				timeout = 100 * time.Millisecond
			}
			s, err := Start(t.Context(), a, AgentSide, Options{GreetTimeout: timeout})
			if s != nil || !c.want(err) {
				t.Errorf("started with %v", err)
			}
			if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is not closed: %v", err)
			}
			_ = b.Close()
		})
	}
}

func TestSessionEndsForTheRightReason(t *testing.T) {
	for name, c := range map[string]struct {
		end             func(adapter, agent *Session, a, b io.Closer)
		adapter, agents error
	}{
		"adapter closes":         {func(s, _ *Session, _, _ io.Closer) { _ = s.Close() }, ErrClosed, ErrPeerGone},
		"agent closes":           {func(_, s *Session, _, _ io.Closer) { _ = s.Close() }, ErrPeerGone, ErrClosed},
		"the connection is gone": {func(_, _ *Session, a, b io.Closer) { _, _ = a.Close(), b.Close() }, ErrPeerGone, ErrPeerGone},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := testkit.Pair(t)
			adapter, agent := sessions(t, a, b, Options{}, Options{})
			served := make(chan error, 1)
			blocked := make(chan error, 1)
			go func() {
				served <- agent.Serve(func(st *Stream) {
					_ = st.Opened(wire.Answer{})
					_, err := st.Read(make([]byte, 1))
					blocked <- err
					_ = st.Close()
				})
			}()
			st := mustOpen(t, adapter, nil)
			c.end(adapter, agent, a, b)
			if err := adapter.Wait(); !errors.Is(err, c.adapter) {
				t.Errorf("adapter: %v, want %v", err, c.adapter)
			}
			if err := <-served; !errors.Is(err, c.agents) {
				t.Errorf("agent: %v, want %v", err, c.agents)
			}
			if err := <-blocked; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("blocked read: %v, want ECONNRESET", err)
			}
			if _, err := st.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("write: %v, want ECONNRESET", err)
			}
			if _, err := adapter.Open(t.Context(), wire.Header{}, nil); !errors.Is(err, c.adapter) {
				t.Errorf("open: %v, want %v", err, c.adapter)
			}
		})
	}
}

// stoppable lets a test stop what a link carries, as a frozen transport does.
type stoppable struct {
	io.ReadWriteCloser
	mu      sync.Mutex
	stopped bool
	changed *sync.Cond
}

func newStoppable(c io.ReadWriteCloser) *stoppable {
	s := &stoppable{ReadWriteCloser: c}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *stoppable) set(stopped bool) {
	s.mu.Lock()
	s.stopped = stopped
	s.mu.Unlock()
	s.changed.Broadcast()
}

func (s *stoppable) Write(b []byte) (int, error) {
	s.mu.Lock()
	for s.stopped {
		s.changed.Wait()
	}
	s.mu.Unlock()
	return s.ReadWriteCloser.Write(b)
}

func (s *stoppable) Close() error {
	s.set(false)
	return s.ReadWriteCloser.Close()
}

func TestSilentPeerEndsTheSession(t *testing.T) {
	a, b := testkit.Pair(t)
	frozen := newStoppable(b)
	adapter, _ := sessions(t, a, frozen, Options{Heartbeat: 20 * time.Millisecond}, Options{Heartbeat: 20 * time.Millisecond})
	frozen.set(true)
	if err := adapter.Wait(); !errors.Is(err, ErrSilent) {
		t.Errorf("ended with %v, want %v", err, ErrSilent)
	}
	frozen.set(false)
}

func TestStalledPeerEndsTheSessionThoughAWriteBlocks(t *testing.T) {
	a, b := testkit.Pair(t)
	stalled := newStoppable(a)
	adapter, agent := sessions(t, stalled, b, Options{Heartbeat: 50 * time.Millisecond}, Options{Heartbeat: 50 * time.Millisecond})
	serve(t, agent, drain)
	st, other := mustOpen(t, adapter, nil), mustOpen(t, adapter, nil)
	stalled.set(true)
	done := make(chan error, 1)
	go func() {
		_, err := st.Write(make([]byte, 1<<20))
		done <- err
	}()
	// Reset does not wait for the link.
	other.Reset()
	if err := agent.Wait(); !errors.Is(err, ErrSilent) {
		t.Errorf("ended with %v, want %v", err, ErrSilent)
	}
	stalled.set(false)
	if err := <-done; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("blocked write: %v, want ECONNRESET", err)
	}
}

func TestBusyLinkIsNotSilent(t *testing.T) {
	adapter, agent := linked(t, 0, Options{Heartbeat: 50 * time.Millisecond})
	serve(t, agent, echo)
	deadline := time.After(time.Second)
	for {
		select {
		case <-deadline:
			return
		case <-adapter.Done():
			t.Fatalf("ended: %v", adapter.Wait())
		default:
			_ = mustOpen(t, adapter, []byte("x")).Close()
		}
	}
}

func TestStreamWithoutHeaderIsReset(t *testing.T) {
	adapter, agent := linked(t, 0, Options{})
	serve(t, agent, func(st *Stream) { t.Errorf("served %+v", st.Header) })
	for _, garbage := range []string{"\xff\xff", "\x00\x00", "\x00\x03abc", "\x00\x02[]"} {
		ys, err := adapter.ym.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		st := adapter.track(ys)
		if _, err := io.WriteString(st, garbage); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after %q: %v, want ECONNRESET", garbage, err)
		}
		_ = st.Close()
	}
	gone(t, adapter, agent)
}

func TestFramesAgainstTheRulesEndTheSession(t *testing.T) {
	data := func(stream uint32, n int) []byte {
		f := frame{}
		f[7] = byte(stream)
		f.setLength(uint32(n))
		return append(f[:], make([]byte, n)...)
	}
	syn := func(stream uint32) []byte {
		f := grantFrame(stream, 0)
		f[3] = byte(flagSYN)
		return f[:]
	}
	for name, c := range map[string]struct {
		frames [][]byte
		want   func(error) bool
	}{
		"more data than granted": {[][]byte{syn(3), data(3, floor), data(3, 1)}, func(err error) bool { return errors.Is(err, wire.ErrFrame) }},
		"unknown version":        {[][]byte{{9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, func(err error) bool { return errors.Is(err, wire.ErrFrame) }},
		"unknown type":           {[][]byte{{0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, func(err error) bool { return errors.Is(err, wire.ErrFrame) }},
		"a stream twice":         {[][]byte{syn(3), syn(3)}, func(err error) bool { return errors.Is(err, wire.ErrFrame) }},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := testkit.Pair(t)
			go func() {
				_ = wire.WriteHello(b, wire.Hello{})
				_, _ = b.Write(syn(signalStream))
				for _, f := range c.frames {
					_, _ = b.Write(f)
				}
				_, _ = io.Copy(io.Discard, b)
			}()
			s, err := Start(t.Context(), a, AgentSide, Options{})
			if err == nil {
				err = s.Wait()
				_ = s.Close()
			}
			if !c.want(err) {
				t.Errorf("ended with %v", err)
			}
			_ = b.Close()
		})
	}
}
