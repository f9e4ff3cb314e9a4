// Package h2 is what both ends of the link need for HTTP/2 (RFC 9113): how one request and its response travel as frames of
// their own, who may send how much, and one writer of a connection's frames. Frames and field compression are those of
// golang.org/x/net/http2. It changes no field: order, case of values and the sensitivity of each stay.
package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Limits of a message on the link.
const (
	// MaxHead is the longest header section, in bytes as SETTINGS_MAX_HEADER_LIST_SIZE counts them (RFC 9113 §6.5.2).
	MaxHead = 1 << 20
	// MaxData is the longest DATA frame, in bytes.
	MaxData = 64 << 10
)

// ErrFrame is wrapped by what is said of bytes that are no message.
var ErrFrame = errors.New("malformed HTTP/2 message")

// messageStream is the stream of all frames of a message: HTTP/2 knows none without one.
const messageStream = 1

// Writer writes one message: HEADERS, DATA and RST_STREAM frames of stream 1, with a field compression that remembers nothing, so
// that a reader needs no more than the message. Each call is one write. It is for one goroutine.
type Writer struct {
	out    io.Writer
	buf    bytes.Buffer
	block  bytes.Buffer
	framer *http2.Framer
	fields *hpack.Encoder
}

// NewWriter does not own out.
func NewWriter(out io.Writer) *Writer {
	w := &Writer{out: out}
	w.framer = http2.NewFramer(&w.buf, nil)
	w.fields = hpack.NewEncoder(&w.block)
	w.fields.SetMaxDynamicTableSizeLimit(0)
	return w
}

// Head writes a header section: the request's, the response's, an interim one's, or the trailer. end says that the message ends with it.
func (w *Writer) Head(fields []hpack.HeaderField, end bool) error {
	if err := w.addHead(fields, end); err != nil {
		return err
	}
	return w.flush()
}

// Data writes some of the content; end says that the message ends with it.
func (w *Writer) Data(p []byte, end bool) error {
	if err := w.addData(p, end); err != nil {
		return err
	}
	return w.flush()
}

// Reset says that no more of the message comes, and why (RFC 9113 §7).
func (w *Writer) Reset(code http2.ErrCode) error {
	if err := w.framer.WriteRSTStream(messageStream, code); err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	return w.flush()
}

func (w *Writer) addHead(fields []hpack.HeaderField, end bool) error {
	w.block.Reset()
	for _, f := range fields {
		if err := w.fields.WriteField(f); err != nil {
			return fmt.Errorf("write a header section: %w", err)
		}
	}
	if w.block.Len() > MaxHead {
		return fmt.Errorf("a header section of %d bytes, at most %d: %w", w.block.Len(), MaxHead, ErrFrame)
	}
	err := w.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: messageStream, BlockFragment: w.block.Bytes(), EndHeaders: true, EndStream: end,
	})
	if err != nil {
		return fmt.Errorf("write a header section: %w", err)
	}
	return nil
}

func (w *Writer) addData(p []byte, end bool) error {
	for first := true; first || len(p) > 0; first = false {
		n := min(len(p), MaxData)
		if err := w.framer.WriteData(messageStream, end && n == len(p), p[:n]); err != nil {
			return fmt.Errorf("write a message: %w", err)
		}
		p = p[n:]
	}
	return nil
}

func (w *Writer) flush() error {
	defer w.buf.Reset()
	if _, err := w.out.Write(w.buf.Bytes()); err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	return nil
}

// Begin returns the bytes of a message's beginning, a header section with some content if data is not empty. What follows is written
// by a Writer of its own.
func Begin(fields []hpack.HeaderField, data []byte, end bool) ([]byte, error) {
	w := NewWriter(nil)
	if err := w.addHead(fields, end && len(data) == 0); err != nil {
		return nil, err
	}
	if len(data) > 0 {
		if err := w.addData(data, end); err != nil {
			return nil, err
		}
	}
	return w.buf.Bytes(), nil
}

// DataHead makes head that of a DATA frame of n bytes, at most MaxData; end says that the message ends with it. It is for who has the
// content written behind it, without another copy.
func DataHead(head *[FrameHead]byte, n int, end bool) {
	*head = [FrameHead]byte{byte(n >> 16), byte(n >> 8), byte(n), byte(http2.FrameData)}
	if end {
		head[4] = byte(http2.FlagDataEndStream)
	}
	binary.BigEndian.PutUint32(head[5:], messageStream)
}

// Frame is one frame of a message: a header section, or content.
type Frame struct {
	// Fields are a header section's in their order, pseudo-header fields first; nil of content.
	Fields []hpack.HeaderField
	// Data is valid until the next frame is read.
	Data []byte
	// End says that the message ends with it.
	End bool
}

// ResetError says that the other side gave the message up.
type ResetError struct{ Code http2.ErrCode }

func (e *ResetError) Error() string { return "the message was given up: " + e.Code.String() }

// Reader reads one message. It is for one goroutine.
type Reader struct{ framer *http2.Framer }

// NewReader reads not a byte more of in than the frames that it returns.
func NewReader(in io.Reader) *Reader {
	r := &Reader{http2.NewFramer(nil, in)}
	r.framer.SetMaxReadFrameSize(MaxHead)
	r.framer.SetReuseFrames()
	r.framer.ReadMetaHeaders = hpack.NewDecoder(0, nil)
	r.framer.MaxHeaderListSize = MaxHead
	return r
}

// Next returns the next frame. The error is io.EOF when the message's bytes end before a frame, a *ResetError, wraps ErrFrame, or is in's.
func (r *Reader) Next() (Frame, error) {
	f, err := r.framer.ReadFrame()
	switch {
	case errors.Is(err, io.EOF):
		return Frame{}, io.EOF
	case errors.As(err, new(http2.StreamError)), errors.As(err, new(http2.ConnectionError)), errors.Is(err, http2.ErrFrameTooLarge):
		return Frame{}, fmt.Errorf("%w: %w", ErrFrame, err)
	case err != nil:
		return Frame{}, fmt.Errorf("read a message: %w", err)
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		if f.Truncated {
			return Frame{}, fmt.Errorf("%w: a header section of more than %d bytes", ErrFrame, MaxHead)
		}
		return Frame{Fields: f.Fields, End: f.StreamEnded()}, nil
	case *http2.DataFrame:
		return Frame{Data: f.Data(), End: f.StreamEnded()}, nil
	case *http2.RSTStreamFrame:
		return Frame{}, &ResetError{f.ErrCode}
	}
	return Frame{}, fmt.Errorf("%w: a frame %v", ErrFrame, f.Header().Type)
}
