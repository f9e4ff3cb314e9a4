package splice

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"podstep.dev/internal/testkit"
)

// counted is a socket that counts what the kernel moved.
type counted struct {
	*net.TCPConn
	moved atomic.Int64
}

func (c *counted) Socket() *net.TCPConn { return c.TCPConn }
func (c *counted) Moved(n int)          { c.moved.Add(int64(n)) }

func countedTCP(t *testing.T) (Conn, *counted) {
	a, b := tcp(t)
	return a, &counted{TCPConn: b.(*net.TCPConn)}
}

func TestJoinHasTheKernelMoveWhatIsMuch(t *testing.T) {
	x, left := countedTCP(t)
	y, right := countedTCP(t)
	bound := NewBuffers(1 << 20)
	ended := make(chan Stats, 1)
	go func() {
		stats, _ := Join(t.Context(), left, right, Options{Buffers: bound})
		ended <- stats
	}()
	want := random(8 << 20)
	go func() { _, _ = x.Write(want); _ = x.CloseWrite() }()
	got, err := io.ReadAll(y)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(want), err)
	}
	_ = y.CloseWrite()
	if stats := <-ended; stats.AToB != int64(len(want)) {
		t.Errorf("told of %d bytes", stats.AToB)
	}
	if n := left.moved.Load(); n < int64(len(want))/2 || n != right.moved.Load() {
		t.Errorf("the kernel moved %d bytes of %d, and %d", n, len(want), right.moved.Load())
	}
	if n := bound.left.Load(); n != 16 {
		t.Errorf("%d of 16 buffers are left", n)
	}
}

// TestPipeCountsWhatItHolds : memory is taken as long as there is something in it, and without any nothing is moved.
func TestPipeCountsWhatItHolds(t *testing.T) {
	x, left := countedTCP(t)
	_, right := countedTCP(t)
	bound := NewBuffers(pipeSize)
	for range 2 {
		p := bound.OpenPipe()
		if p == nil {
			t.Fatal("no pipe")
		}
		if n := bound.left.Load(); n != pipeBuffers {
			t.Fatalf("an empty pipe takes memory: %d buffers left", n)
		}
		if _, err := x.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if n, err := p.fill(left.TCPConn, pipeSize); n != 5 || err != nil {
			t.Fatal(n, err)
		}
		if n := bound.left.Load(); n != 0 {
			t.Errorf("%d buffers left beside a pipe that holds something", n)
		}
		other := bound.OpenPipe()
		if _, err := x.Write([]byte("more")); err != nil {
			t.Fatal(err)
		}
		if n, err := other.Move(right, left, pipeSize); n != 0 || err != nil {
			t.Errorf("moved %d, %v, without memory", n, err)
		}
		other.Close()
		p.Close()
		if n := bound.left.Load(); n != pipeBuffers {
			t.Errorf("%d buffers left after the pipe was closed", n)
		}
		if n, err := io.ReadFull(left, make([]byte, 4)); n != 4 || err != nil {
			t.Error(n, err)
		}
	}
}

func TestPipeTellsWhichSideFailed(t *testing.T) {
	x, left := countedTCP(t)
	y, right := countedTCP(t)
	p := NewBuffers(pipeSize).OpenPipe()
	defer p.Close()
	Reset(y)
	testkit.Eventually(t, "a write fails", func() bool {
		_, _ = x.Write([]byte("hello"))
		_, err := p.Move(right, left, pipeSize)
		_, writing := err.(*WriteError)
		return writing
	})
	_ = x.CloseWrite()
	p2 := NewBuffers(pipeSize).OpenPipe()
	defer p2.Close()
	if n, err := p2.Move(right, left, pipeSize); n != 0 || err != io.EOF {
		t.Errorf("moved %d, %v, want the end", n, err)
	}
}
