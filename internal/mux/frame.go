package mux

import "encoding/binary"

// A frame of yamux begins with twelve bytes: version, type, flags, stream id and length, big endian (yamux's spec.md).
const (
	frameSize = 12

	frameData   byte = 0 // length is of the body that follows
	frameWindow byte = 1 // length is a grant: how much more the other end may send

	frameGoAway byte = 3 // the last type

	flagSYN uint16 = 1
	flagACK uint16 = 2
	flagFIN uint16 = 4
	flagRST uint16 = 8

	// floor is the window that yamux gives every stream from the beginning.
	floor = 256 << 10
)

type frame [frameSize]byte

func (f *frame) kind() byte         { return f[1] }
func (f *frame) flags() uint16      { return binary.BigEndian.Uint16(f[2:]) }
func (f *frame) stream() uint32     { return binary.BigEndian.Uint32(f[4:]) }
func (f *frame) length() int        { return int(binary.BigEndian.Uint32(f[8:])) }
func (f *frame) setLength(n uint32) { binary.BigEndian.PutUint32(f[8:], n) }
func (f *frame) setFlags(v uint16)  { binary.BigEndian.PutUint16(f[2:], v) }

// isData says that a body follows.
func (f *frame) isData() bool { return f.kind() == frameData && f.length() > 0 }

func grantFrame(stream uint32, n int) (f frame) {
	f[1] = frameWindow
	binary.BigEndian.PutUint32(f[4:], stream)
	f.setLength(uint32(n))
	return f
}
