package h2

import (
	"encoding/binary"
	"errors"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Bounds of what is read of a connection's frames, in bytes.
const (
	// FrameHead is the size of a frame's head (RFC 9113 §4.1).
	FrameHead = 9
	// MaxBlock is the longest header block, compressed.
	MaxBlock = 128 << 10
	// maxList is the longest header section, as SETTINGS_MAX_HEADER_LIST_SIZE counts it.
	maxList = 256 << 10
	// MaxTable is the largest table of fields that a sender may have its reader remember (RFC 7541 §4.2).
	MaxTable = 64 << 10
)

// ErrLong says that a frame or a header section is longer than what is read.
var ErrLong = errors.New("too long to be looked into")

// HeadOf is the frame head that at least FrameHead bytes begin with.
func HeadOf(b []byte) http2.FrameHeader {
	return http2.FrameHeader{
		Length: uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]), Type: http2.FrameType(b[3]), Flags: http2.Flags(b[4]),
		StreamID: binary.BigEndian.Uint32(b[5:]) & (1<<31 - 1),
	}
}

// Unpad is a payload without its padding; not ok when that is longer than the frame.
func Unpad(p []byte, padded bool) (content []byte, ok bool) {
	if !padded {
		return p, true
	}
	if len(p) == 0 || int(p[0]) > len(p)-1 {
		return nil, false
	}
	return p[1 : len(p)-int(p[0])], true
}

// Fragment is a HEADERS frame's part of the header block (RFC 9113 §6.2); not ok when the frame is too short for what it should have.
func Fragment(flags http2.Flags, payload []byte) (fragment []byte, ok bool) {
	p, ok := Unpad(payload, flags.Has(http2.FlagHeadersPadded))
	if !ok || !flags.Has(http2.FlagHeadersPriority) {
		return p, ok
	}
	if len(p) < 5 {
		return nil, false
	}
	return p[5:], true
}

// BlockReader reads the header blocks of one direction of a connection, all of them and in their order: each may refer to those before
// it. It is for one goroutine.
type BlockReader struct {
	decoder *hpack.Decoder
	list    []hpack.HeaderField
	size    uint32
	isBig   bool
}

// NewBlockReader begins with the first block of a connection.
func NewBlockReader() *BlockReader {
	r := &BlockReader{}
	r.decoder = hpack.NewDecoder(4<<10, r.add)
	r.decoder.SetAllowedMaxDynamicTableSize(MaxTable)
	return r
}

func (r *BlockReader) add(f hpack.HeaderField) {
	if r.size += f.Size(); r.size > maxList {
		r.isBig = true
		return
	}
	r.list = append(r.list, f)
}

// Read returns the fields of a whole block; they hold until the next. The error is ErrLong, after which further blocks can be read, or says
// that none can.
func (r *BlockReader) Read(block []byte) ([]hpack.HeaderField, error) {
	r.list, r.size, r.isBig = r.list[:0], 0, false
	_, err := r.decoder.Write(block)
	if err == nil {
		err = r.decoder.Close()
	}
	if err == nil && r.isBig {
		err = ErrLong
	}
	return r.list, err
}
