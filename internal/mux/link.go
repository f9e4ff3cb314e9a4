package mux

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"podstep.dev/internal/wire"
)

// readAhead is how much is read from the connection at once.
const readAhead = 64 << 10

// link is the connection as yamux sees it. It passes frames on and has the budget look at each: grants that yamux
// makes are left out, because the budget makes them, and the bodies of streams that are reset are thrown away. A frame
// leaves in one write, although yamux writes its header and body apart; and what yamux says of a stream's opening in a
// frame of its own leaves with the stream's next frame.
type link struct {
	conn   io.ReadWriteCloser
	budget *budget
	// signal is told of each signal of the other end, in its place among the frames. It must not block.
	signal func(what byte, n uint32)
	// frames counts what was received, as the sign of life.
	frames atomic.Uint64

	// Of yamux's reader.
	in   *bufio.Reader
	head frame
	left []byte // what yamux has not yet taken of head
	body int    // and of the body behind it
	part []byte // of a signal

	failed atomic.Pointer[error]

	mu   sync.Mutex // one write at a time
	out  []byte
	held frame // of yamux's writer: a header whose body comes next
	hold bool
	// opening has the flags by stream that wait for the stream's next frame, at the latest for a signal.
	opening map[uint32]uint16
}

func newLink(conn io.ReadWriteCloser, b *budget, signal func(what byte, n uint32)) *link {
	return &link{conn: conn, budget: b, signal: signal, in: bufio.NewReaderSize(conn, readAhead), opening: map[uint32]uint16{}}
}

// Read gives yamux the next bytes of a frame. Only yamux's reader calls it.
func (l *link) Read(p []byte) (int, error) {
	for len(l.left) == 0 && l.body == 0 {
		if err := l.next(); err != nil {
			l.fail(err)
			return 0, err
		}
	}
	if len(l.left) > 0 {
		n := copy(p, l.left)
		l.left = l.left[n:]
		return n, nil
	}
	n, err := l.in.Read(p[:min(len(p), l.body)])
	l.body -= n
	if err != nil {
		l.fail(err)
	}
	return n, err
}

// next reads a header and asks the budget what is to become of the frame.
func (l *link) next() error {
	if _, err := io.ReadFull(l.in, l.head[:]); err != nil {
		return err
	}
	l.frames.Add(1)
	if l.head[0] != 0 || l.head.kind() > frameGoAway {
		return fmt.Errorf("frame % x: %w", l.head, wire.ErrFrame)
	}
	keep, err := l.budget.arrived(&l.head)
	if err != nil {
		return err
	}
	n := 0
	if l.head.isData() {
		n = l.head.length()
	}
	switch {
	case l.head.stream() == signalStream && n > 0:
		err = l.hear(n)
		l.budget.read(signalStream, n)
	case !keep:
		_, err = l.in.Discard(n)
	default:
		l.left, l.body = l.head[:], n
		return nil
	}
	if err != nil {
		return err
	}
	l.head.setLength(0)
	l.left = l.head[:]
	return nil
}

// hear takes n bytes of signals. Yamux does not get them: a reader of the stream would hear of a reset later than others
// of the frames behind it.
func (l *link) hear(n int) error {
	for range n {
		b, err := l.in.ReadByte()
		if err != nil {
			return err
		}
		if l.part = append(l.part, b); len(l.part) == signalSize {
			l.signal(l.part[0], binary.BigEndian.Uint32(l.part[1:]))
			l.part = l.part[:0]
		}
	}
	return nil
}

// Write takes a header or, after the header of a data frame, its body. Only yamux's writer calls it.
func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hold {
		l.hold = false
		return len(p), l.send(&l.held, p)
	}
	if len(p) != frameSize {
		return 0, fmt.Errorf("write of %d bytes is no frame's header", len(p))
	}
	h := frame(p)
	if l.hold = h.isData(); l.hold {
		l.held = h
		return len(p), nil
	}
	if h.kind() == frameWindow {
		h.setLength(0)
		switch {
		case h.flags() == 0:
			return len(p), nil
		case h.flags()&^(flagSYN|flagACK) == 0 && h.stream() != signalStream:
			l.opening[h.stream()] |= h.flags()
			return len(p), nil
		}
	}
	return len(p), l.send(&h, nil)
}

// grant writes the grants that are due.
func (l *link) grant() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.send(nil, nil)
}

// send writes a frame, behind the grants that are due. The caller holds mu.
func (l *link) send(h *frame, body []byte) error {
	l.out = l.budget.appendGrants(l.out[:0])
	if h != nil {
		l.open(h)
		l.budget.leaving(h)
		l.out = append(append(l.out, h[:]...), body...)
	}
	if len(l.out) == 0 {
		return nil
	}
	if _, err := l.conn.Write(l.out); err != nil {
		l.fail(err)
		return err
	}
	return nil
}

// open adds what is held of the opening of h's stream to h. A signal may be about any stream, so what is held of others
// goes first.
func (l *link) open(h *frame) {
	if h.stream() != signalStream {
		h.setFlags(h.flags() | l.opening[h.stream()])
		delete(l.opening, h.stream())
		return
	}
	for id, flags := range l.opening {
		f := grantFrame(id, 0)
		f.setFlags(flags)
		l.budget.leaving(&f)
		l.out = append(l.out, f[:]...)
	}
	clear(l.opening)
}

// Close closes the connection.
func (l *link) Close() error { return l.conn.Close() }

func (l *link) fail(err error) { l.failed.CompareAndSwap(nil, &err) }

// failure is the first error of the connection, nil when there was none or when the other end just closed it.
func (l *link) failure() error {
	err := l.failed.Load()
	if err == nil || errors.Is(*err, io.ErrUnexpectedEOF) {
		return nil
	}
	return *err
}
