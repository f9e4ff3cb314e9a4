//go:build linux

package incoming

import (
	"errors"
	"io"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/h2"
)

// frameHead is the size of a frame's head.
const frameHead = h2.FrameHead

// frame is a frame, or a piece of a DATA frame that is longer than the inbox.
type frame struct {
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
	// raw is the whole frame; nil for a piece.
	raw []byte
	// payload is the frame's, of a piece without padding. size is how much of the windows a piece takes.
	payload []byte
	size    int
}

func (f *frame) has(flag http2.Flags) bool { return f.flags.Has(flag) }

// ends says that its sender sends no more on the stream.
func (f *frame) ends() bool { return f.has(http2.FlagDataEndStream) }

// data is a DATA frame's content without padding, and what it takes of the windows; not ok when the padding is longer than the frame.
func (f *frame) data() (content []byte, size int, ok bool) {
	if f.raw == nil {
		return f.payload, f.size, true
	}
	content, ok = h2.Unpad(f.payload, f.has(http2.FlagDataPadded))
	return content, len(f.payload), ok
}

// fragment is a HEADERS frame's part of the header block.
func (f *frame) fragment() ([]byte, bool) { return h2.Fragment(f.flags, f.payload) }

// frames tells the frames of one direction apart. It is for one goroutine.
type frames struct {
	inbox
	// long has the beginning of a frame that does not fit into the inbox; nil when there is none.
	long []byte
	// piece is the DATA frame that is taken in pieces, when inPiece: left bytes of its content come, then pad bytes. lead counts the
	// pad length's byte until that is told of.
	piece           frame
	left, pad, lead int
	inPiece         bool
	// full says that a frame does not fit.
	full bool
}

// more waits for more bytes. Its error is what the direction ended with.
func (r *frames) more() error {
	switch err := r.fill(); {
	case errors.Is(err, errFull):
		r.full = true
	case err != nil:
		return err
	}
	return nil
}

// next returns the next frame if there is a whole one, or a piece of one that is too long. What it returns holds until more. The error is
// h2.ErrLong, or io.ErrUnexpectedEOF for padding that is longer than its frame.
func (r *frames) next() (f frame, ok bool, err error) {
	b := r.bytes()
	switch {
	case r.inPiece:
		return r.nextPiece()
	case r.long != nil:
		return r.gather()
	case len(b) < frameHead:
		return f, false, nil
	}
	f = headOf(b)
	total := frameHead + lengthOf(b)
	switch {
	case len(b) >= total:
		f.raw, f.payload = b[:total], b[frameHead:total]
		r.skip(total)
		return f, true, nil
	case !r.full:
		return f, false, nil
	}
	r.full = false
	if f.kind == http2.FrameData && total > frameHead+1 {
		return r.beginPiece(f, total-frameHead)
	}
	if total > h2.MaxBlock {
		return f, false, h2.ErrLong
	}
	r.long = make([]byte, 0, total)
	return r.gather()
}

func (r *frames) gather() (f frame, ok bool, err error) {
	r.full = false
	b := r.bytes()
	n := min(len(b), cap(r.long)-len(r.long))
	r.long = append(r.long, b[:n]...)
	r.skip(n)
	if len(r.long) < cap(r.long) {
		return f, false, nil
	}
	f = headOf(r.long)
	f.raw, f.payload = r.long, r.long[frameHead:]
	r.long = nil
	return f, true, nil
}

// beginPiece begins a DATA frame that is taken in pieces.
func (r *frames) beginPiece(f frame, length int) (frame, bool, error) {
	r.piece, r.left, r.pad, r.lead = f, length, 0, 0
	n := frameHead
	if f.has(http2.FlagDataPadded) {
		if r.pad = int(r.bytes()[frameHead]); r.pad > length-1 {
			return f, false, io.ErrUnexpectedEOF
		}
		r.left -= 1 + r.pad
		r.lead = 1
		n++
	}
	r.inPiece = true
	r.skip(n)
	return r.nextPiece()
}

func (r *frames) nextPiece() (f frame, ok bool, err error) {
	r.full = false
	b := r.bytes()
	f = r.piece
	f.flags &^= http2.FlagDataPadded | http2.FlagDataEndStream
	n := min(len(b), r.left)
	f.payload, f.size = b[:n], n+r.lead
	r.left -= n
	r.lead = 0
	if r.left == 0 {
		padding := min(len(b)-n, r.pad)
		r.pad -= padding
		f.size += padding
		n += padding
		if r.pad == 0 {
			r.inPiece = false
			f.flags |= r.piece.flags & http2.FlagDataEndStream
		}
	}
	r.skip(n)
	return f, f.size > 0 || !r.inPiece, nil
}

func headOf(b []byte) frame {
	h := h2.HeadOf(b)
	return frame{kind: h.Type, flags: h.Flags, stream: h.StreamID}
}

func lengthOf(b []byte) int { return int(h2.HeadOf(b).Length) }

// isSettings says whether bytes begin as HTTP/2 connections do after the client's preface: with SETTINGS (RFC 9113 §3.4).
func isSettings(b []byte) bool {
	if len(b) < frameHead {
		return false
	}
	f := headOf(b)
	return f.kind == http2.FrameSettings && f.flags == 0 && f.stream == 0 && lengthOf(b)%6 == 0 && lengthOf(b) < 1<<10
}

// blocks puts the header blocks of one direction together and reads their fields.
type blocks struct {
	reader *h2.BlockReader
	// first is the block's HEADERS or PUSH_PROMISE frame; open says that others of it are missing.
	first frame
	open  bool
	// frames are those frames as they came, fragments what they have of the block.
	frames, fragments []byte
}

func newBlocks() *blocks { return &blocks{reader: h2.NewBlockReader()} }

// begin takes in a block's first frame, and says whether nothing is missing.
func (b *blocks) begin(f frame, fragment []byte) (whole bool) {
	if f.has(http2.FlagHeadersEndHeaders) {
		b.first, b.frames, b.fragments = f, f.raw, fragment
		return true
	}
	f.payload = nil
	b.first, b.open = f, true
	b.frames, b.fragments = append([]byte(nil), f.raw...), append([]byte(nil), fragment...)
	return false
}

// goOn takes in a CONTINUATION frame. The error is h2.ErrLong or h2.ErrFrame.
func (b *blocks) goOn(f frame) (whole bool, err error) {
	if !b.open || f.kind != http2.FrameContinuation || f.stream != b.first.stream {
		return false, h2.ErrFrame
	}
	if len(b.fragments)+len(f.payload) > h2.MaxBlock || len(b.frames)+len(f.raw) > 2*h2.MaxBlock {
		return false, h2.ErrLong
	}
	b.frames, b.fragments = append(b.frames, f.raw...), append(b.fragments, f.payload...)
	b.open = !f.has(http2.FlagHeadersEndHeaders)
	return !b.open, nil
}

// read is the reader's Read of the block that is whole.
func (b *blocks) read() ([]hpack.HeaderField, error) {
	fields, err := b.reader.Read(b.fragments)
	b.fragments = nil
	return fields, err
}
