package h2

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// pending is how many bytes a Sender has waiting before Flush waits for room.
const pending = 64 << 10

// Sender writes the frames of one connection. Its methods but Flush only add to what is pending, in the order of their calls, and never
// block: whoever adds calls Flush, or FlushLater where waiting for the peer could be waiting for oneself. Safe for concurrent use. Its only
// goroutine is that of FlushLater, which ends with the write; closing the connection ends that.
type Sender struct {
	out io.Writer

	mu   sync.Mutex
	room sync.Cond
	// buf is what is pending, spare what is being written.
	buf, spare bytes.Buffer
	framer     *http2.Framer
	block      bytes.Buffer
	fields     *hpack.Encoder
	maxFrame   int
	writing    bool
	err        error
}

// NewSender does not own out.
func NewSender(out io.Writer) *Sender {
	s := &Sender{out: out, maxFrame: 16 << 10}
	s.room.L = &s.mu
	s.framer = http2.NewFramer(&s.buf, nil)
	s.framer.AllowIllegalWrites = true // what a peer sends is passed on as it is
	s.fields = hpack.NewEncoder(&s.block)
	return s
}

// SetMaxFrame sets the peer's SETTINGS_MAX_FRAME_SIZE in bytes; 16 KiB before.
func (s *Sender) SetMaxFrame(n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maxFrame = int(n)
}

// SetTable sets the peer's SETTINGS_HEADER_TABLE_SIZE in bytes. No more than the default 4,096 are used.
func (s *Sender) SetTable(n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fields.SetMaxDynamicTableSizeLimit(min(n, 4<<10))
}

// Forget has the peer's table of fields emptied by the next header section: it knows fields that this Sender did not send.
func (s *Sender) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fields.SetMaxDynamicTableSize(0)
	s.fields.SetMaxDynamicTableSize(4 << 10) // or the limit, if that is less
}

// Headers adds a header section, with CONTINUATION frames if it is long.
func (s *Sender) Headers(id uint32, fields []hpack.HeaderField, end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.block.Reset()
	for _, f := range fields {
		_ = s.fields.WriteField(f) // into memory
	}
	rest := s.block.Bytes()
	next := func() (fragment []byte, last bool) {
		n := min(len(rest), s.maxFrame)
		fragment, rest = rest[:n], rest[n:]
		return fragment, len(rest) == 0
	}
	fragment, last := next()
	_ = s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: fragment, EndHeaders: last, EndStream: end})
	for !last {
		fragment, last = next()
		_ = s.framer.WriteContinuation(id, last, fragment)
	}
}

// Data adds content, in as many frames as it takes. The caller has the credit for it.
func (s *Sender) Data(id uint32, p []byte, end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for first := true; first || len(p) > 0; first = false {
		n := min(len(p), s.maxFrame)
		_ = s.framer.WriteData(id, end && n == len(p), p[:n])
		p = p[n:]
	}
}

// Frame adds whatever write writes: a frame other than HEADERS and DATA.
func (s *Sender) Frame(write func(*http2.Framer) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = write(s.framer) // into memory
}

// Bytes adds bytes as they are: a preface, or frames that are passed on.
func (s *Sender) Bytes(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Write(p)
}

// Pending is how many bytes wait to be written.
func (s *Sender) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Len()
}

// Flush writes what is pending, or leaves that to who is writing already, and waits then while there is much. The error stays.
func (s *Sender) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing && s.buf.Len() > pending && s.err == nil {
		s.room.Wait()
	}
	if !s.writing {
		s.write()
	}
	return s.err
}

// FlushLater has what is pending written by another goroutine. It never blocks.
func (s *Sender) FlushLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing || s.err != nil || s.buf.Len() == 0 {
		return
	}
	s.writing = true
	go func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.write()
	}()
}

// write writes until nothing is pending; the lock is held, but not while it writes.
func (s *Sender) write() {
	s.writing = true
	for s.buf.Len() > 0 && s.err == nil {
		s.buf, s.spare = s.spare, s.buf // the framer writes to buf by its address
		s.room.Broadcast()
		s.mu.Unlock()
		_, err := s.out.Write(s.spare.Bytes())
		s.mu.Lock()
		s.spare.Reset()
		if err != nil {
			s.err = fmt.Errorf("write frames: %w", err)
			s.buf.Reset()
		}
	}
	s.writing = false
	s.room.Broadcast()
}
