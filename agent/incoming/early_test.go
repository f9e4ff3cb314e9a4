//go:build linux

package incoming

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// dialBegun returns a connection whose stream has begun, so that what the client sends comes late.
func (f *farEnd) dialBegun(t *testing.T, client *testpod.Client) *net.TCPConn {
	t.Helper()
	select {
	case <-f.begun:
	default:
	}
	c := dial(t, client, testpod.Pod4+":80")
	<-f.begun
	return c
}

// firsts is the memory for first bytes of a session that shares none.
const firsts = 16 << 20 / 6

// freed checks that the memory for first bytes and wide buffers is given back.
func (f *farEnd) freed(t *testing.T) {
	t.Helper()
	for what, b := range map[string]*budget{"first bytes": f.opts.Memory.firsts, "wide buffers": f.opts.Memory.sockets} {
		testkit.Eventually(t, what+" given back", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.left == firsts
		})
	}
}

// spent says whether any wide buffers are in use.
func (m *Memory) spent() bool {
	m.sockets.mu.Lock()
	defer m.sockets.mu.Unlock()
	return m.sockets.left < firsts
}

// received is what a connection brought and how it ended.
type received struct {
	text []byte
	err  error
}

func readAll(r io.Reader) received {
	text, err := io.ReadAll(r)
	return received{text, err}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	source := rand.NewChaCha8([32]byte{2})
	_, _ = source.Read(b)
	return b
}

func TestLateFirstBytesCostNoFurtherRoundTrip(t *testing.T) {
	const oneWay = 250 * time.Millisecond
	client := testpod.NewClient(t)
	near, far := testkit.Delayed(t, oneWay)
	f := startFarEndOver(t, near, far, Options{})
	f.on(chat)
	f.steal(t, 80)
	c := f.dialBegun(t, client)
	began := time.Now()
	expect(t, c, "debuggee saw "+testpod.Client4)
	if d := time.Since(began); d > 4*oneWay-100*time.Millisecond {
		t.Errorf("answered after %s over a round trip of %s", d, 2*oneWay)
	}
	f.freed(t)
}

func TestEarlyBytesReachWhoeverServes(t *testing.T) {
	client := testpod.NewClient(t)
	atTarget, atDebuggee := make(chan received, 1), make(chan received, 1)
	targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) {
		atTarget <- readAll(c)
		_, _ = io.WriteString(c, "target")
	})
	f := startFarEnd(t, Options{})
	f.steal(t, 80)
	for name, size := range map[string]int{"none": 0, "few": 100, "a chunk": leastEarly, "all that is kept": wire.MaxFirst, "more": 5*wire.MaxFirst + 17} {
		want := randomBytes(size)
		early := min(size, wire.MaxFirst)
		for _, taken := range []bool{true, false} {
			there, answer := make(chan []byte, 1), make(chan struct{})
			f.on(func(st *mux.Stream) {
				first := make([]byte, early)
				_, _ = io.ReadFull(st, first)
				there <- first
				<-answer
				if !taken {
					refuse(st)
					return
				}
				_ = st.Opened(wire.Answer{})
				r := readAll(st)
				atDebuggee <- received{append(first, r.text...), r.err}
				_, _ = io.WriteString(st, "debuggee")
				_ = st.CloseWrite()
				_ = st.Close()
			})
			c := f.dialBegun(t, client)
			sent := make(chan error, 1)
			go func() {
				_, err := c.Write(want)
				sent <- errors.Join(err, c.CloseWrite())
			}()
			if got := <-there; !bytes.Equal(got, want[:early]) {
				t.Errorf("%s: the adapter has not the first %d bytes", name, early)
			}
			close(answer)
			got, server := atTarget, "target"
			if taken {
				got, server = atDebuggee, "debuggee"
			}
			if r := <-got; r.err != nil || !bytes.Equal(r.text, want) {
				t.Errorf("%s: %s read %d bytes, %v, want the %d sent", name, server, len(r.text), r.err, size)
			}
			if text, err := io.ReadAll(c); err != nil || string(text) != server {
				t.Errorf("%s: client read %q, %v, want %q", name, text, err, server)
			}
			if err := <-sent; err != nil {
				t.Errorf("%s: client wrote: %v", name, err)
			}
			_ = c.Close()
		}
	}
	if len(atTarget)+len(atDebuggee) > 0 {
		t.Error("a request was delivered twice")
	}
	f.freed(t)
}

func TestNoMoreThanIsKeptIsForwardedEarly(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.steal(t, 80)
	more := make(chan error, 1)
	f.on(func(st *mux.Stream) {
		_, _ = io.ReadFull(st, make([]byte, wire.MaxFirst))
		_ = st.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := st.Read(make([]byte, 1))
		if n > 0 {
			err = errors.New("a byte")
		}
		more <- err
		st.Reset()
	})
	c := f.dialBegun(t, client)
	if _, err := c.Write(make([]byte, wire.MaxFirst+1)); err != nil {
		t.Fatal(err)
	}
	var late net.Error
	if err := <-more; !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("after %d bytes and before the answer came %v", wire.MaxFirst, err)
	}
}

func TestEarlyEndReachesTheAdapterBeforeItAnswers(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) {
		r := readAll(st)
		if r.err != nil {
			t.Errorf("read: %v", r.err)
		}
		_ = st.Opened(wire.Answer{})
		_, _ = st.Write(r.text)
		_ = st.CloseWrite()
		_ = st.Close()
	})
	f.steal(t, 80)
	c := f.dialBegun(t, client)
	_, _ = io.WriteString(c, "whole")
	_ = c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "whole" {
		t.Errorf("client read %q, %v", got, err)
	}
}

func TestEarlyResetReachesWhoeverServes(t *testing.T) {
	client := testpod.NewClient(t)
	ends := make(chan received, 1)
	targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) { ends <- readAll(c) })
	f := startFarEnd(t, Options{})
	f.steal(t, 80)
	for i := range 40 {
		there, answer := make(chan struct{}), make(chan struct{})
		f.on(func(st *mux.Stream) {
			first := make([]byte, 5)
			_, _ = io.ReadFull(st, first)
			close(there)
			<-answer
			if i%2 == 0 {
				refuse(st)
				return
			}
			_ = st.Opened(wire.Answer{})
			r := readAll(st)
			ends <- received{append(first, r.text...), r.err}
			st.Reset()
		})
		c := f.dialBegun(t, client)
		_, _ = io.WriteString(c, "hello")
		<-there
		_ = c.SetLinger(0)
		_ = c.Close()
		close(answer)
		if r := <-ends; string(r.text) != "hello" || !errors.Is(r.err, syscall.ECONNRESET) {
			t.Errorf("taken %v: read %q, %v, want what was sent, then ECONNRESET", i%2 == 1, r.text, r.err)
		}
	}
	f.freed(t)
}

// TestResetIsKeptThatCameBeforeTheStream resets while the connection still waits to be served.
func TestResetIsKeptThatCameBeforeTheStream(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
	e := newEarly(NewMemory(16<<20, 1, nil).width(conn.(*net.TCPConn)), newBudget(firsts))
	if first := e.first(); len(first) > 0 {
		t.Errorf("first bytes %q", first)
	}
	if _, err := e.rest().Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %v, want ECONNRESET", err)
	}
	_ = conn.Close()
}

func TestStalledLinkDoesNotHoldUpPassthrough(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, testpod.Pod4+":80")
	// The adapter's end of this link reads nothing any more from the moment that stalled is closed.
	near, far := net.Pipe()
	stalled := &stalling{Conn: far, from: make(chan struct{}), end: make(chan struct{})}
	defer close(stalled.end)
	f := startFarEndOver(t, near, stalled, Options{OpenTimeout: 300 * time.Millisecond})
	f.on(func(*mux.Stream) { close(stalled.from) })
	f.steal(t, 80)
	c := f.dialBegun(t, client)
	<-stalled.from
	expect(t, c, "target saw "+testpod.Client4)
}

// stalling is a connection that reads nothing between from and end.
type stalling struct {
	net.Conn
	from, end chan struct{}
}

func (s *stalling) Read(p []byte) (int, error) {
	select {
	case <-s.from:
		<-s.end
		return 0, os.ErrClosed
	default:
	}
	return s.Conn.Read(p[:min(len(p), 1)])
}

func TestConnectionsAreStolenWhenNoMemoryIsLeft(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, testpod.Pod4+":80")
	f := startFarEnd(t, Options{})
	f.steal(t, 80)
	spent := f.opts.Memory.firsts.take(firsts)
	for want, handle := range map[string]func(*mux.Stream){"target saw ": refuse, "debuggee saw ": chat} {
		f.on(handle)
		expect(t, dial(t, client, testpod.Pod4+":80"), want+testpod.Client4)
	}
	f.opts.Memory.firsts.give(spent)
	f.freed(t)
}
