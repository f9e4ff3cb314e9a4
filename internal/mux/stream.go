package mux

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"github.com/hashicorp/yamux"

	"podstep.dev/internal/wire"
)

const errAgain = syscall.EAGAIN

// Stream is one stream of a session. Reads and writes may run at once; each of Read and Write only once at a time.
type Stream struct {
	*yamux.Stream
	// Header opened the stream.
	Header wire.Header
	// Answer is the other end's, on a stream that this end opened.
	Answer wire.Answer

	session *Session

	mu       sync.Mutex
	ended    bool // the other end's half is over
	closed   bool // CloseWrite, Close or Reset was called
	wasReset bool
}

func (s *Session) track(ys *yamux.Stream) *Stream {
	st := &Stream{Stream: ys, session: s}
	s.mu.Lock()
	s.streams[ys.StreamID()] = st
	s.mu.Unlock()
	return st
}

func (s *Session) forget(st *Stream) {
	s.mu.Lock()
	delete(s.streams, st.StreamID())
	s.mu.Unlock()
}

// Opened answers yes to a stream of the other end. local is the answer's Local and may be zero.
func (st *Stream) Opened(answer wire.Answer) error {
	return wire.WriteFrame(st, answer, nil)
}

// Refuse answers no and ends the stream.
func (st *Stream) Refuse(r *wire.Refusal) error {
	return errors.Join(wire.WriteFrame(st, wire.Answer{Refusal: r}, nil), st.Close())
}

// Read reads like a TCP connection: io.EOF after the other end's CloseWrite, ECONNRESET after a reset of either end.
func (st *Stream) Read(b []byte) (int, error) {
	n, err := st.Stream.Read(b)
	if err != nil {
		return n, st.readError(err)
	}
	return n, nil
}

func (st *Stream) readError(err error) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.wasReset || errors.Is(err, yamux.ErrConnectionReset) {
		return syscall.ECONNRESET
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	// The session's end closes every stream in yamux: that is a reset, not an end that the other side meant.
	if st.session.ym.IsClosed() {
		return syscall.ECONNRESET
	}
	st.ended = true
	return io.EOF
}

// Write writes like a TCP connection: EPIPE after CloseWrite, ECONNRESET after a reset of either end.
func (st *Stream) Write(b []byte) (int, error) {
	n, err := st.Stream.Write(b)
	if err == nil {
		return n, nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.wasReset, errors.Is(err, yamux.ErrConnectionReset), errors.Is(err, yamux.ErrSessionShutdown):
		return n, syscall.ECONNRESET
	case errors.Is(err, yamux.ErrStreamClosed):
		return n, syscall.EPIPE
	}
	return n, err
}

// CloseWrite ends this end's half. What was written still arrives.
func (st *Stream) CloseWrite() error {
	st.mu.Lock()
	first := !st.closed
	st.closed = true
	done := st.ended
	st.mu.Unlock()
	if done {
		st.session.forget(st)
	}
	if !first {
		return nil
	}
	return st.Stream.Close()
}

// Close ends the stream: cleanly when the other end's half is over, else by Reset, because what the other end still
// sends can reach nobody.
func (st *Stream) Close() error {
	st.mu.Lock()
	ended, wasReset := st.ended, st.wasReset
	st.mu.Unlock()
	if wasReset {
		return nil
	}
	if ended {
		defer st.session.forget(st)
		return st.CloseWrite()
	}
	return st.hangUp()
}

// hangUp closes both halves. The other end sees what was written, then the reset.
func (st *Stream) hangUp() error {
	err := st.CloseWrite()
	st.Reset()
	return err
}

// Reset drops the stream at once: reads and writes of both ends fail with ECONNRESET.
func (st *Stream) Reset() {
	if st.drop() {
		st.session.signals.sendReset(st)
	}
}

// drop is the local half of a reset, except for the stream's own end. It reports whether it was the first.
func (st *Stream) drop() bool {
	st.mu.Lock()
	first := !st.wasReset
	st.wasReset, st.closed = true, true
	st.mu.Unlock()
	if !first {
		return false
	}
	st.session.forget(st)
	_ = st.SetDeadline(past)
	return true
}
