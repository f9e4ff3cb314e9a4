package capture

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
)

func TestSlowReaderIsGivenUpAlone(t *testing.T) {
	server := discard(t, "tcp", "127.0.0.1:0")
	const memory = 2 << 20
	var got sinks
	// The first copy's reader takes nothing: its stream's other end is never read.
	var first atomic.Bool
	deliver := func(ctx context.Context, o Origin) (splice.Conn, error) {
		conn, err := got.deliver(ctx, o)
		if first.CompareAndSwap(false, true) {
			return stuckConn{conn.(*sink)}, err
		}
		return conn, err
	}
	var lost atomic.Uint64
	c := start(t, deliver, Options{Memory: memory, Lost: func(_, connections uint64) { lost.Add(connections) }}, server.Port())
	slow := dial(t, server)
	if _, err := slow.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "slow copy begun", first.Load)
	quick := dial(t, server)
	var most int64
	chunk := random(64 << 10)
	for range 200 {
		if _, err := slow.Write(chunk); err != nil {
			t.Fatal(err)
		}
		most = max(most, c.held.Load())
	}
	if _, err := quick.Write(chunk); err != nil {
		t.Fatal(err)
	}
	if err := quick.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	all := got.ended(t, 2)
	if _, reset := all[0].state(); !reset {
		t.Error("the slow copy was not reset")
	}
	if fin, _ := all[1].state(); !fin || !bytes.Equal(all[1].bytes(), chunk) {
		t.Errorf("the other copy has %d bytes, want %d and a FIN", len(all[1].bytes()), len(chunk))
	}
	// One segment may come in before the largest copy goes.
	if most > memory+1<<17 {
		t.Errorf("%d bytes kept, at most %d allowed", most, memory)
	}
	testkit.Eventually(t, "loss told", func() bool { return lost.Load() == 1 })
	testkit.Eventually(t, "memory given back", func() bool { return c.held.Load() == 0 })
}

// stuckConn takes no byte until it is reset.
type stuckConn struct {
	*sink
}

func (s stuckConn) Write(b []byte) (int, error) {
	<-s.gone
	return 0, context.Canceled
}

func TestKernelDropsAreCounted(t *testing.T) {
	server := discard(t, "tcp", "127.0.0.1:0")
	// The reader stands still while it logs that the first copy is given up; so the ring overflows.
	stand := make(chan struct{})
	var standing atomic.Bool
	log := zaptest.NewLogger(t, zaptest.WrapOptions(zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "copy given up" && standing.CompareAndSwap(false, true) {
			<-stand
		}
		return nil
	})))
	var got sinks
	deliver := func(ctx context.Context, o Origin) (splice.Conn, error) {
		conn, err := got.deliver(ctx, o)
		return stuckConn{conn.(*sink)}, err
	}
	var packets, connections atomic.Uint64
	lost := func(p, c uint64) { packets.Add(p); connections.Add(c) }
	c, err := Start(t.Context(), []Port{{Number: server.Port()}}, deliver, Options{Log: log, Memory: 1 << 20, Ring: 1, Lost: lost})
	if err != nil {
		t.Fatal(err)
	}
	slow := dial(t, server)
	chunk := random(64 << 10)
	testkit.Eventually(t, "reader stands", func() bool {
		_, err := slow.Write(chunk)
		return err != nil || standing.Load()
	})
	// The target takes everything meanwhile: nobody waits for the capture.
	for range 100 {
		if _, err := slow.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	close(stand)
	testkit.Eventually(t, "losses told", func() bool { return packets.Load() > 0 && connections.Load() == 1 })
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if s := c.Stats(); s.Packets != packets.Load() {
		t.Errorf("%d packets told, %d counted", packets.Load(), s.Packets)
	}
}
