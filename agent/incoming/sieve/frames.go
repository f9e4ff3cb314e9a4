package sieve

import (
	"encoding/binary"

	"golang.org/x/net/http2"

	"podstep.dev/internal/h2"
)

// frames tells the frames of the client's direction apart. Content is handed on as it comes, what else matters is gathered.
type frames struct {
	// began says that the client's settings came, which are the first frame.
	began bool
	// gathered is what is known of a frame's head, or behind it of a payload that is gathered.
	gathered []byte
	head     http2.FrameHeader
	in       part
	// left is how much of the payload is to come, pad how much of that is padding.
	left, pad int
	// block is what is known of a header block whose HEADERS frame, of, is not its last; nil when there is none.
	block []byte
	of    http2.FrameHeader
}

// part is what of a frame comes next.
type part int

const (
	inHead part = iota
	// inLength : the length of the padding.
	inLength
	inContent
	inGathered
	inSkipped
)

// take takes in a part of a frame, or some of it, and says how many bytes that are. The error is that the frames are none of HTTP/2, or
// h2.ErrLong.
func (f *frames) take(b []byte, s *streams) (n int, err error) {
	switch f.in {
	case inHead:
		head, n := f.gather(b, h2.FrameHead)
		if head == nil {
			return n, nil
		}
		f.head = h2.HeadOf(head)
		return n, f.begin(s)
	case inLength:
		if f.pad = int(b[0]); f.pad > f.left-1 {
			return 0, h2.ErrFrame
		}
		f.left--
		f.in = inContent
		f.takeContent(nil, s)
		return 1, nil
	case inContent:
		n = min(len(b), f.left)
		f.takeContent(b[:n], s)
		return n, nil
	case inSkipped:
		n = min(len(b), f.left)
		f.skip(n)
		return n, nil
	}
	payload, n := f.gather(b, f.left)
	if payload == nil {
		return n, nil
	}
	f.in = inHead
	return n, f.whole(payload, s)
}

// gather takes so many bytes together, and says how many more it took of b; nil as long as some are missing.
func (f *frames) gather(b []byte, size int) (all []byte, n int) {
	n = min(len(b), size-len(f.gathered))
	if len(f.gathered) == 0 && n == size {
		return b[:n], n
	}
	if f.gathered = append(f.gathered, b[:n]...); len(f.gathered) < size {
		return nil, n
	}
	all, f.gathered = f.gathered, nil
	return all, n
}

// begin goes on to the payload of a frame whose head is known.
func (f *frames) begin(s *streams) error {
	h := f.head
	f.left, f.pad = int(h.Length), 0
	if f.block != nil && (h.Type != http2.FrameContinuation || h.StreamID != f.of.StreamID) || !f.began && h.Type != http2.FrameSettings {
		return h2.ErrFrame
	}
	f.began = true
	switch h.Type {
	case http2.FrameData:
		f.in = inContent
		switch padded := h.Flags.Has(http2.FlagDataPadded); {
		case h.StreamID == 0, padded && f.left == 0:
			return h2.ErrFrame
		case padded:
			f.in = inLength
			return nil
		}
		f.takeContent(nil, s)
		return nil
	case http2.FrameHeaders, http2.FrameRSTStream, http2.FrameContinuation:
		if err := f.check(); err != nil {
			return err
		}
		f.in = inGathered
		if f.left == 0 {
			f.in = inHead
			return f.whole(nil, s)
		}
		return nil
	case http2.FramePushPromise:
		return h2.ErrFrame
	}
	f.in = inSkipped
	f.skip(0)
	return nil
}

// check looks at the head of a frame that is gathered.
func (f *frames) check() error {
	h := f.head
	switch {
	case h.StreamID == 0,
		h.Type == http2.FrameContinuation && f.block == nil,
		h.Type == http2.FrameRSTStream && h.Length != 4:
		return h2.ErrFrame
	case len(f.block)+f.left > h2.MaxBlock:
		return h2.ErrLong
	}
	return nil
}

// takeContent takes in bytes of a DATA frame, padding included.
func (f *frames) takeContent(p []byte, s *streams) {
	content := p[:min(len(p), f.left-f.pad)]
	f.left -= len(p)
	f.pad = min(f.pad, f.left)
	over := f.left == 0
	if over {
		f.in = inHead
	}
	if ends := over && f.head.Flags.Has(http2.FlagDataEndStream); len(content) > 0 || ends {
		s.content(f.head.StreamID, content, ends)
	}
}

// skip passes over bytes of a payload that does not matter.
func (f *frames) skip(n int) {
	if f.left -= n; f.left == 0 {
		f.in = inHead
	}
}

// whole takes in a frame that was gathered.
func (f *frames) whole(payload []byte, s *streams) error {
	h := f.head
	fragment := payload
	switch h.Type {
	case http2.FrameRSTStream:
		s.reset(h.StreamID, http2.ErrCode(binary.BigEndian.Uint32(payload)))
		return nil
	case http2.FrameHeaders:
		var ok bool
		if fragment, ok = h2.Fragment(h.Flags, payload); !ok {
			return h2.ErrFrame
		}
		f.of = h
	}
	switch last := h.Flags.Has(http2.FlagHeadersEndHeaders); {
	case !last && f.block == nil:
		f.block = append([]byte{}, fragment...)
		return nil
	case !last:
		f.block = append(f.block, fragment...)
		return nil
	case f.block != nil:
		fragment = append(f.block, fragment...)
		f.block = nil
	}
	return s.section(f.of.StreamID, fragment, f.of.Flags.Has(http2.FlagHeadersEndStream))
}
