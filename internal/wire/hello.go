package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// magic precedes every greeting. Its first byte occurs nowhere else in it, so a reader can find it behind foreign text
// without backtracking.
var magic = []byte("\x00podstep\xff\r\n")

// Hello is the greeting: the first thing each end says, before it has heard anything.
type Hello struct {
	// Major and Minor are the protocol version; see [Major].
	Major int `json:"major"`
	Minor int `json:"minor"`
	// Program is the release that speaks, for people: "podstep 0.1.0".
	Program string `json:"program"`
	// Holder says on whose behalf, for people: "alice@laptop". Empty from an agent.
	Holder string `json:"holder,omitempty"`
	// Session names the session, unique and without meaning. Empty from an agent.
	Session string `json:"session,omitempty"`
}

// VersionError says that the other end speaks another major version.
type VersionError struct {
	Ours int
	Peer Hello
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("protocol version %d.%d spoken by %s, version %d needed", e.Peer.Major, e.Peer.Minor, e.Peer.Program, e.Ours)
}

// WriteHello writes the magic bytes and the greeting. It fills in the version when h has none.
func WriteHello(w io.Writer, h Hello) error {
	if h.Major == 0 {
		h.Major, h.Minor = Major, Minor
	}
	var buf bytes.Buffer
	buf.Write(magic)
	if err := WriteFrame(&buf, h, nil); err != nil {
		return err
	}
	if _, err := w.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("write greeting: %w", err)
	}
	return nil
}

// ReadHello reads the other end's greeting and not a byte more. Foreign text before it is skipped, up to MaxPreamble
// bytes, and returned in the error when no greeting follows. Another major version is a *VersionError.
func ReadHello(r io.Reader) (Hello, error) {
	if err := skipToMagic(r); err != nil {
		return Hello{}, err
	}
	var h Hello
	if err := ReadFrame(r, &h); err != nil {
		return Hello{}, fmt.Errorf("read greeting: %w", err)
	}
	if h.Major != Major {
		return h, &VersionError{Ours: Major, Peer: h}
	}
	return h, nil
}

// skipToMagic reads byte by byte: the transport's bytes after the greeting belong to somebody else.
func skipToMagic(r io.Reader) error {
	var seen []byte
	matched := 0
	var one [1]byte
	for len(seen) < MaxPreamble {
		if _, err := io.ReadFull(r, one[:]); err != nil {
			if len(seen) > 0 {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				err = fmt.Errorf("%w after %q", err, tail(seen, 512))
			}
			return fmt.Errorf("read greeting: %w", err)
		}
		seen = append(seen, one[0])
		switch {
		case one[0] == magic[matched]:
			matched++
		case one[0] == magic[0]:
			matched = 1
		default:
			matched = 0
		}
		if matched == len(magic) {
			return nil
		}
	}
	return fmt.Errorf("no greeting within %d bytes: %w", MaxPreamble, ErrFrame)
}

func tail(b []byte, n int) []byte {
	return b[max(0, len(b)-n):]
}
