//go:build linux

package incoming

import (
	"net"
	"sync/atomic"

	"podstep.dev/agent/incoming/redirect"
	"podstep.dev/internal/splice"
)

const (
	// wideAfter is how many bytes a connection carries before it asks for wide buffers, and each time it got none.
	wideAfter = 256 << 10
	// widening is what the kernel charges for them beside the narrow ones, at most.
	widening = 2 * (redirect.WideIn + redirect.WideOut - redirect.NarrowIn - redirect.NarrowOut)
)

// width is a TCP connection that gets wide socket buffers when it carries much and there is memory for them.
type width struct {
	*net.TCPConn
	memory *Memory
	// carried counts to wideAfter.
	carried atomic.Int64
	wide    atomic.Bool
}

func (m *Memory) width(c *net.TCPConn) *width { return &width{TCPConn: c, memory: m} }

// accepted is a client's connection, which has narrow buffers from here on, unless its client is ahead of them. The error is the kernel's.
func (m *Memory) accepted(c *net.TCPConn) (*width, error) {
	w := m.width(c)
	if redirect.Ahead(c) && w.widen() {
		return w, nil
	}
	return w, redirect.Narrow(c)
}

func (w *width) Read(b []byte) (int, error) {
	n, err := w.TCPConn.Read(b)
	w.carry(n)
	return n, err
}

func (w *width) Write(b []byte) (int, error) {
	n, err := w.TCPConn.Write(b)
	w.carry(n)
	return n, err
}

func (w *width) carry(n int) {
	if w.wide.Load() || w.carried.Add(int64(n)) < wideAfter {
		return
	}
	w.carried.Store(0)
	w.widen()
}

// widen gives the connection wide buffers, and says whether there is memory for them.
func (w *width) widen() bool {
	if !w.memory.sockets.takeAll(widening) {
		return false
	}
	if !w.wide.CompareAndSwap(false, true) {
		w.memory.sockets.give(widening)
		return true
	}
	// Whoever closed the connection meanwhile sees to it.
	_ = redirect.Widen(w.TCPConn)
	return true
}

// free gives the memory back. Neither Read nor Write may be called any more.
func (w *width) free() {
	if w.wide.Load() {
		w.memory.sockets.give(widening)
	}
}

// Reset is for package splice.
func (w *width) Reset() { splice.Reset(w.TCPConn) }
