// Package wire is the protocol between podstep's programs, in one place: the greeting, stream headers and answers,
// control methods, refusals and limits. It knows no transport and uses only the standard library; spec.md says it in prose.
//
// Payload is never re-encoded: a stream carries one header, one answer and then raw bytes.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Version of the protocol. An agent serves every adapter of the same major version: fields that one side does not
// know are ignored, so a minor version only ever adds.
const (
	Major = 1
	Minor = 3
)

// Limits that both ends keep. A peer that exceeds one is refused; nothing is allocated beyond them.
const (
	// MaxFrame is the largest header, answer or greeting in bytes.
	MaxFrame = 16 << 10
	// MaxPreamble is how many bytes of foreign text may precede the greeting (a transport may print first).
	MaxPreamble = 64 << 10
	// MaxFirst is how many first bytes of a connection an agent keeps until the stream is opened.
	MaxFirst = 64 << 10
	// MaxControl is the largest control message in bytes. The environment of a process is at most 2 MiB by default
	// (execve(2), a quarter of RLIMIT_STACK), and JSON may double it.
	MaxControl = 4 << 20
	// MaxDatagram is the largest datagram of a DNS stream in bytes (RFC 1035 §4.2.2: two bytes of length).
	MaxDatagram = 1<<16 - 1
)

// ErrFrame is wrapped by every error about bytes that are not of this protocol.
var ErrFrame = errors.New("malformed frame")

// ErrDropped says that the other end reset a stream instead of answering it.
var ErrDropped = errors.New("dropped without an answer")

// WriteFrame writes v as one frame: two bytes of length, big endian, then JSON. The tail, if any, follows the frame in
// the same write, so that first bytes cost no further packet.
func WriteFrame(w io.Writer, v any, tail []byte) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	if len(body) > MaxFrame {
		return fmt.Errorf("encode frame of %d bytes, at most %d: %w", len(body), MaxFrame, ErrFrame)
	}
	buf := make([]byte, 0, 2+len(body)+len(tail))
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(body)))
	buf = append(buf, body...)
	buf = append(buf, tail...)
	if _, err := w.Write(buf); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// ReadFrame reads one frame into v and not a byte more. A frame that is too long or no JSON wraps ErrFrame.
func ReadFrame(r io.Reader, v any) error {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n == 0 || n > MaxFrame {
		return fmt.Errorf("frame of %d bytes, at most %d: %w", n, MaxFrame, ErrFrame)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decode frame: %w: %w", ErrFrame, err)
	}
	return nil
}
