package http1

import (
	"fmt"
	"math"
)

const (
	// maxChunkLine bounds the line before a chunk, its extensions included, in bytes: as net/http does.
	maxChunkLine = 4<<10 - 1
	// maxChunkDigits bounds the size of a chunk, leading zeros included: as net/http does.
	maxChunkDigits = 16
)

// Scanner finds the end of one body in the bytes behind its head, in however small pieces they come.
type Scanner struct {
	kind Kind
	at   place
	// left of the body, or of the chunk, in bytes; the value so far while the chunk's size is read.
	left int64
	// read of the chunk's line, or of the trailer, in bytes.
	read int
	err  error
}

// place is where in a body the next byte is.
type place int

const (
	inData place = iota
	inSize
	inPadding // white space behind a chunk's size
	inExtension
	atSizeFeed
	atDataReturn
	atDataFeed
	atTrailerLine
	inTrailerName
	inTrailerValue
	atTrailerFeed
	atLastFeed
	ended
)

// Scanner begins at the first byte of the body.
func (b Body) Scanner() *Scanner {
	s := &Scanner{kind: b.Kind, left: b.Length}
	switch {
	case b.Kind == Chunked:
		s.at, s.left = inSize, 0
	case b.Kind == None, b.Kind == Length && b.Length == 0:
		s.at = ended
	}
	return s
}

// Take says how many of the bytes at b's beginning belong to the body, and whether it ends with them. A body of Kind None is done at
// once, one of Kind UntilClose never.
//
// The n bytes before a malformed one are told with the error, which wraps ErrOdd (or is ErrLong, of a chunk's line and of the trailer)
// and is given again by every further call: nobody can say any more where the body ends.
func (s *Scanner) Take(b []byte) (n int, done bool, err error) {
	if s.err != nil {
		return 0, false, s.err
	}
	if s.kind == UntilClose {
		return len(b), false, nil
	}
	for n < len(b) && s.at != ended {
		if s.at == inData {
			data := min(int64(len(b)-n), s.left)
			s.Skip(data)
			n += int(data)
			continue
		}
		if s.err = s.step(b[n]); s.err != nil {
			return n, false, s.err
		}
		n++
	}
	return n, s.at == ended, nil
}

// Remaining is how many of the bytes to come certainly belong to the body, whatever they are: all of a body with a length, and of a chunked
// one those up to the chunk's end. It is not known between chunks, and of a body that ends with the connection.
func (s *Scanner) Remaining() (n int64, known bool) {
	switch {
	case s.err != nil || s.kind == UntilClose:
		return 0, false
	case s.at == inData:
		return s.left, true
	}
	return 0, s.at == ended
}

// Content is what of raw, the beginning of a body as it was sent, is content: without the framing of chunks, and as far as raw goes.
// That of a body that is not chunked is raw itself.
func (b Body) Content(raw []byte) []byte {
	if b.Kind != Chunked {
		return raw
	}
	var content []byte
	s := b.Scanner()
	for len(raw) > 0 {
		if left, _ := s.Remaining(); left > 0 {
			n := min(left, int64(len(raw)))
			content = append(content, raw[:n]...)
			s.Skip(n)
			raw = raw[n:]
			continue
		}
		_, done, err := s.Take(raw[:1])
		if done || err != nil {
			break
		}
		raw = raw[1:]
	}
	return content
}

// Skip goes over n bytes, at most those Remaining, which the caller passed on without showing them to Take.
func (s *Scanner) Skip(n int64) {
	if left, known := s.Remaining(); n < 0 || n > left || !known {
		panic("http1: skipped bytes that nobody said to be of the body") // the caller has lost count
	}
	s.left -= n
	switch {
	case s.left > 0:
	case s.kind == Chunked && s.at == inData:
		s.at = atDataReturn
	default:
		s.at = ended
	}
}

// step takes in one byte of what is around the data of chunks (RFC 9112 §7.1).
func (s *Scanner) step(c byte) error {
	switch s.at {
	case inSize:
		return s.stepSize(c)
	case inPadding: // some servers pad the size. Before an extension RFC 9112 §7.1.1 allows it too, but who looks for a semicolon takes it for a digit.
		if c != ' ' && c != '\t' {
			return s.expect(c, '\r', atSizeFeed)
		}
		return s.count(maxChunkLine, "a chunk's line")
	case inExtension:
		if !is(c, text) {
			return s.expect(c, '\r', atSizeFeed)
		}
		return s.count(maxChunkLine, "a chunk's line")
	case atSizeFeed:
		next := inData
		if s.left == 0 {
			next, s.read = atTrailerLine, 0
		}
		return s.expect(c, '\n', next)
	case atDataReturn:
		return s.expect(c, '\r', atDataFeed)
	case atDataFeed:
		s.read = 0
		return s.expect(c, '\n', inSize)
	}
	return s.stepTrailer(c)
}

func (s *Scanner) stepSize(c byte) error {
	digit := hex(c)
	switch {
	case digit >= 0:
		if s.read == maxChunkDigits || s.left > (math.MaxInt64-digit)>>4 {
			return odd("a chunk's size beyond 63 bits or 16 digits (RFC 9112 §7.1)")
		}
		s.left = s.left<<4 + digit
		return s.count(maxChunkLine, "a chunk's line")
	case s.read == 0:
		return odd("a chunk without a size (RFC 9112 §7.1)")
	case c == ';':
		s.at = inExtension
		return s.count(maxChunkLine, "a chunk's line")
	case c == ' ' || c == '\t':
		s.at = inPadding
		return s.count(maxChunkLine, "a chunk's line")
	}
	return s.expect(c, '\r', atSizeFeed)
}

// stepTrailer takes in one byte of the fields behind the last chunk and of the empty line (RFC 9112 §7.1.2).
func (s *Scanner) stepTrailer(c byte) error {
	if err := s.count(MaxHead, "a trailer"); err != nil {
		return err
	}
	switch s.at {
	case atTrailerLine:
		if c == '\r' {
			s.at = atLastFeed
			return nil
		}
		s.at = inTrailerName
		if !is(c, token) {
			return odd("a folded or nameless field in a trailer (RFC 9112 §5, §7.1.2)")
		}
	case inTrailerName:
		if !is(c, token) {
			return s.expect(c, ':', inTrailerValue)
		}
	case inTrailerValue:
		if !is(c, text) {
			return s.expect(c, '\r', atTrailerFeed)
		}
	case atTrailerFeed:
		return s.expect(c, '\n', atTrailerLine)
	case atLastFeed:
		return s.expect(c, '\n', ended)
	}
	return nil
}

// expect goes on to the next place, if the byte is the one that leads there.
func (s *Scanner) expect(c, want byte, next place) error {
	if c != want {
		return odd("a malformed chunk or trailer (RFC 9112 §7.1)")
	}
	s.at = next
	return nil
}

// count one more byte of what has a limit.
func (s *Scanner) count(limit int, of string) error {
	if s.read++; s.read > limit {
		return fmt.Errorf("%w: %s of more than %d bytes", ErrLong, of, limit)
	}
	return nil
}
