//go:build linux

package incoming

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// farEnd plays the adapter at the other end of a link.
type farEnd struct {
	*mux.Session
	// Subscriptions are those of the agent's end.
	*Subscriptions

	// begun has an element for each stream that was begun, as long as there is room.
	begun chan struct{}

	mu      sync.Mutex
	handle  func(*mux.Stream)
	headers []wire.Header
	ended   []wire.EndedParams
}

// startFarEnd makes a link and subscriptions over it, and ends both with the test.
func startFarEnd(t *testing.T, opts Options) *farEnd {
	t.Helper()
	near, far := net.Pipe()
	return startFarEndOver(t, near, far, opts)
}

func startFarEndOver(t *testing.T, near, far io.ReadWriteCloser, opts Options) *farEnd {
	t.Helper()
	f := &farEnd{begun: make(chan struct{}, 1)}
	var adapter *mux.Session
	started := make(chan error)
	go func() {
		var err error
		adapter, err = mux.Start(t.Context(), far, mux.AdapterSide, mux.Options{})
		started <- err
	}()
	agent, err := mux.Start(t.Context(), near, mux.AgentSide, mux.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	opts.Ended = func(e wire.EndedParams) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ended = append(f.ended, e)
	}
	f.Session = adapter
	f.Subscriptions = New(t.Context(), func(ctx context.Context, h wire.Header, first []byte) (Stream, error) {
		st, err := agent.Begin(ctx, h, first)
		if err != nil {
			return nil, err
		}
		select {
		case f.begun <- struct{}{}:
		default:
		}
		return st, nil
	}, opts)
	var served sync.WaitGroup
	served.Go(func() { _ = adapter.Serve(f.serve) })
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := f.Subscriptions.Close(ctx); err != nil {
			t.Errorf("close subscriptions: %v", err)
		}
		_ = agent.Close()
		_ = adapter.Close()
		served.Wait()
	})
	return f
}

func (f *farEnd) serve(st *mux.Stream) {
	f.mu.Lock()
	handle := f.handle
	f.headers = append(f.headers, st.Header)
	f.mu.Unlock()
	handle(st)
}

// on says what happens to streams from here on.
func (f *farEnd) on(handle func(*mux.Stream)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handle = handle
}

func (f *farEnd) seen() []wire.Header {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]wire.Header(nil), f.headers...)
}

func (f *farEnd) steal(t *testing.T, port uint16) wire.Subscription {
	t.Helper()
	sub, err := f.Subscribe(t.Context(), wire.SubscribeParams{Port: port, Mode: wire.ModeSteal})
	if err != nil {
		t.Fatalf("steal %d: %v", port, err)
	}
	return sub
}

// copied is a stream that was read to its end.
type copied struct {
	kind wire.Kind
	text string
}

// copies takes every stream from here on, and hands over what was read of each when it has ended.
func (f *farEnd) copies() <-chan copied {
	all := make(chan copied, 4)
	f.on(func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		text, _ := io.ReadAll(st)
		all <- copied{st.Header.Kind, string(text)}
		_ = st.Close()
	})
	return all
}

// refuse plays a debuggee that does not listen.
func refuse(st *mux.Stream) { _ = st.Refuse(&wire.Refusal{Errno: syscall.ECONNREFUSED}) }

// answer plays a debuggee that answers one request with body and closes.
func answer(body string) func(*mux.Stream) {
	return func(st *mux.Stream) {
		if st.Opened(wire.Answer{}) != nil {
			return
		}
		var request bytes.Buffer
		buf := make([]byte, 4096)
		for !bytes.Contains(request.Bytes(), []byte("\r\n\r\n")) {
			n, err := st.Read(buf)
			if err != nil {
				st.Reset()
				return
			}
			request.Write(buf[:n])
		}
		_, _ = io.WriteString(st, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body)
		_ = st.CloseWrite()
		_, _ = io.Copy(io.Discard, st)
		_ = st.Close()
	}
}

// target plays the target on every address of the pod: it answers each line with the peer it sees.
func target(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	serveTarget(t, l)
	return l
}

func serveTarget(t *testing.T, l net.Listener) {
	serveEach(t, l, func(c net.Conn) {
		buf := make([]byte, 256)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			if _, err := io.WriteString(c, "target saw "+host+"\n"); err != nil {
				return
			}
		}
	})
}

// serveEach has each connection served, and closed after that. It ends with the test.
func serveEach(t *testing.T, l net.Listener, serve func(net.Conn)) {
	var conns sync.WaitGroup
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer func() { _ = c.Close() }()
				serve(c)
			})
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done; conns.Wait() })
}

// say writes a line and returns the line that comes back.
func say(t *testing.T, c net.Conn, line string) (string, error) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	buf := make([]byte, 256)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

func curl(t *testing.T, c *testpod.Client, url string) string {
	t.Helper()
	out, err := c.Command("curl", "-sS", "-g", "--max-time", "10", url).CombinedOutput()
	if err != nil {
		t.Fatalf("curl %s: %v: %s", url, err, out)
	}
	return string(out)
}
