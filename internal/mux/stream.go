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

// maxWrite is how much of one stream goes into a frame, so that streams beside it need not wait long.
const maxWrite = 64 << 10

// Stream is one stream of a session. Reads and writes may run at once; each of Read and Write only once at a time.
type Stream struct {
	*yamux.Stream
	// Header opened the stream.
	Header wire.Header
	// Answer is the other end's, on a stream that this end opened.
	Answer wire.Answer

	session *Session
	// unsent is why the header and first bytes of Begin did not leave.
	unsent error

	mu       sync.Mutex
	ended    bool // the other end's half is over
	closed   bool // CloseWrite, Close or Reset was called
	wasReset bool
	ours     bool // it was this end that reset it
	dropped  chan struct{}
}

// Dropped is closed when the stream is reset, by either end. It says so also to whoever has read the other end's half whole.
func (st *Stream) Dropped() <-chan struct{} { return st.dropped }

func (s *Session) track(ys *yamux.Stream) *Stream {
	st := &Stream{Stream: ys, session: s, dropped: make(chan struct{})}
	s.mu.Lock()
	s.streams[ys.StreamID()] = st
	reset, evicted := s.budget.introduce(ys.StreamID())
	s.mu.Unlock()
	switch {
	case evicted:
		st.Reset()
	case reset:
		st.dropByPeer()
	}
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

// Read reads like a TCP connection: io.EOF after the other end's CloseWrite, ECONNRESET after a reset. What had arrived
// before the other end's reset is read first.
func (st *Stream) Read(b []byte) (int, error) {
	if st.isOver() {
		return 0, syscall.ECONNRESET
	}
	n, err := st.Stream.Read(b)
	if errors.Is(err, yamux.ErrTimeout) && st.isReset() {
		// The deadline of a reset may have overtaken what had arrived before it.
		n, err = st.Stream.Read(b)
	}
	if n > 0 && st.session.budget.read(st.StreamID(), n) {
		st.Shrink()
	}
	if err != nil {
		return n, st.readError(err)
	}
	return n, nil
}

// isOver says that this end reset the stream, so that nothing is read any more.
func (st *Stream) isOver() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.ours
}

func (st *Stream) isReset() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.wasReset
}

// isDroppedByPeer says that the other end reset the stream, and this end did not.
func (st *Stream) isDroppedByPeer() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.wasReset && !st.ours
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
	if st.isReset() {
		return 0, syscall.ECONNRESET
	}
	written := 0
	for {
		n, err := st.Stream.Write(b[written:min(len(b), written+maxWrite)])
		written += n
		if err != nil {
			return written, st.writeError(err)
		}
		if written == len(b) {
			return written, nil
		}
	}
}

func (st *Stream) writeError(err error) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.wasReset, errors.Is(err, yamux.ErrConnectionReset), errors.Is(err, yamux.ErrSessionShutdown):
		return syscall.ECONNRESET
	case errors.Is(err, yamux.ErrStreamClosed) && (st.closed || !st.session.ym.IsClosed()):
		return syscall.EPIPE
	case st.session.ym.IsClosed():
		return syscall.ECONNRESET
	}
	return err
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
// sends can reach nobody. The other end reads what was written before either.
func (st *Stream) Close() error {
	st.mu.Lock()
	ended, wasReset := st.ended, st.wasReset
	st.mu.Unlock()
	switch {
	case wasReset:
		// What is unread of it reaches nobody.
		st.drop(true)
		return nil
	case ended:
		defer st.session.forget(st)
		return st.CloseWrite()
	}
	st.Reset()
	return nil
}

// Reset drops the stream at once: reads and writes of this end fail with ECONNRESET, those of the other end too as soon
// as it has read what was written. It never blocks.
func (st *Stream) Reset() {
	if st.drop(true) {
		st.session.signals.end(st, true)
	}
}

// dropByPeer drops the stream because the other end did.
func (st *Stream) dropByPeer() {
	if st.drop(false) {
		st.session.signals.end(st, false)
	}
}

// drop is the local half of a reset, except for the stream's own end, which bury does. It reports whether it was the first.
func (st *Stream) drop(ours bool) bool {
	st.mu.Lock()
	first := !st.wasReset
	st.wasReset, st.closed = true, true
	st.ours = st.ours || ours
	st.mu.Unlock()
	if ours {
		st.session.budget.forget(st.StreamID())
	}
	if !first {
		return false
	}
	close(st.dropped)
	st.session.forget(st)
	_ = st.SetDeadline(past)
	return true
}

// bury ends a dropped stream in yamux and frees what was unread of one that this end reset.
func (st *Stream) bury() {
	_ = st.Stream.Close()
	if !st.isOver() {
		return
	}
	var b [maxWrite]byte
	for {
		if n, err := st.Stream.Read(b[:]); n == 0 || err != nil {
			break
		}
	}
	st.Shrink()
}
