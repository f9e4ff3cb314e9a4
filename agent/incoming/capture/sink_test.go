package capture

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"sync"
	"testing"

	"go.uber.org/zap/zaptest"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
)

// sinks collects copies.
type sinks struct {
	mu  sync.Mutex
	all []*sink
}

// sink is a reader of a copy that takes everything and never answers.
type sink struct {
	from, to netip.AddrPort
	copy     uint32
	gone     chan struct{}

	mu         sync.Mutex
	data       bytes.Buffer
	fin, reset bool
}

func (s *sinks) deliver(_ context.Context, o Origin) (splice.Conn, error) {
	k := &sink{from: o.From, to: o.To, copy: o.Copy, gone: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, k)
	return k, nil
}

func (s *sinks) snapshot() []*sink {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*sink(nil), s.all...)
}

// ended returns the n copies when all of them are over.
func (s *sinks) ended(t *testing.T, n int) []*sink {
	t.Helper()
	testkit.Eventually(t, "copies ended", func() bool {
		all := s.snapshot()
		for _, k := range all {
			if fin, reset := k.state(); !fin && !reset {
				return false
			}
		}
		return len(all) >= n
	})
	all := s.snapshot()
	if len(all) != n {
		t.Fatalf("%d copies, want %d", len(all), n)
	}
	return all
}

func (k *sink) state() (fin, reset bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fin, k.reset
}

func (k *sink) bytes() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return bytes.Clone(k.data.Bytes())
}

func (k *sink) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.data.Write(b)
}

func (k *sink) Read([]byte) (int, error) {
	<-k.gone
	return 0, io.EOF
}

func (k *sink) CloseWrite() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fin = true
	k.leave()
	return nil
}

func (k *sink) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leave()
	return nil
}

func (k *sink) Reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reset = true
	k.leave()
}

func (k *sink) leave() {
	select {
	case <-k.gone:
	default:
		close(k.gone)
	}
}

// start captures the ports until the test ends.
func start(t *testing.T, deliver Deliver, opts Options, ports ...uint16) *Capture {
	t.Helper()
	all := make([]Port, len(ports))
	for i, port := range ports {
		all[i].Number = port
	}
	return startPorts(t, deliver, opts, all...)
}

func startPorts(t *testing.T, deliver Deliver, opts Options, ports ...Port) *Capture {
	t.Helper()
	opts.Log = zaptest.NewLogger(t)
	c, err := Start(t.Context(), ports, deliver, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
