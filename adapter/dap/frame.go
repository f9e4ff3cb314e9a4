// Package dap carries Debug Adapter Protocol messages without understanding them: framing, and an envelope over bytes that stay as they were
// sent. Decoding a message into structs and encoding it again loses what the structs do not know, so only the messages that podstep
// itself writes are made of typed structs. The package routes nothing.
package dap

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// DefaultMax is the largest body accepted when none is configured, in bytes. Sources and memory dumps of real debuggers pass 4 MiB.
const DefaultMax = 64 << 20

// maxHeader bounds everything before a body, stray lines included, in bytes.
const maxHeader = 64 << 10

// Errors of a Reader. Each leaves the stream unusable.
var (
	ErrTooLarge = errors.New("message larger than the limit")
	ErrHeader   = errors.New("malformed message header")
)

const contentLength = "content-length:"

// Reader reads framed messages. It accepts headers in any case, other headers, lines that end in LF alone, and stray lines before a
// header (programs print). It is not safe for concurrent use.
type Reader struct {
	r   *bufio.Reader
	max int
}

// NewReader returns a Reader of r which refuses bodies over limit bytes; zero means DefaultMax.
func NewReader(r io.Reader, limit int) *Reader {
	if limit == 0 {
		limit = DefaultMax
	}
	return &Reader{r: bufio.NewReaderSize(r, 16<<10), max: limit}
}

// Read returns the next body, which the caller owns. It returns io.EOF at the end between two messages and io.ErrUnexpectedEOF within one.
func (r *Reader) Read() ([]byte, error) {
	n, err := r.header()
	if err != nil {
		return nil, err
	}
	if n > r.max {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, n, r.max)
	}
	return r.body(n)
}

// header returns the length that the next header announces.
func (r *Reader) header() (int, error) {
	length, budget := -1, maxHeader
	for {
		line, err := r.line(&budget)
		if err != nil {
			if err == io.EOF && (length >= 0 || line != "") {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		if line == "" {
			if length >= 0 {
				return length, nil
			}
			continue
		}
		// A program's own text may stand before the header on the same line.
		at := strings.LastIndex(strings.ToLower(line), contentLength)
		if at < 0 {
			continue
		}
		length, err = strconv.Atoi(strings.TrimSpace(line[at+len(contentLength):]))
		if err != nil || length < 0 {
			return 0, fmt.Errorf("%w: %.80q", ErrHeader, line)
		}
	}
}

// line returns the next line without its end.
func (r *Reader) line(budget *int) (string, error) {
	var line []byte
	for {
		part, err := r.r.ReadSlice('\n')
		*budget -= len(part)
		if *budget < 0 {
			return "", fmt.Errorf("%w: no message within %d bytes", ErrHeader, maxHeader)
		}
		line = append(line, part...)
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return strings.TrimRight(string(line), "\r\n"), err
		}
	}
}

// body reads n bytes. A large body grows as it arrives: an announced length alone allocates at most 1 MiB.
func (r *Reader) body(n int) ([]byte, error) {
	const atOnce = 1 << 20
	if n <= atOnce {
		b := make([]byte, n)
		_, err := io.ReadFull(r.r, b)
		if err == io.EOF && n > 0 {
			err = io.ErrUnexpectedEOF
		}
		return b, err
	}
	var b bytes.Buffer
	b.Grow(atOnce)
	_, err := io.CopyN(&b, r.r, int64(n))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b.Bytes(), err
}

// Write writes one framed message with a single call of w.Write.
func Write(w io.Writer, body []byte) error {
	frame := make([]byte, 0, len(body)+32)
	frame = append(frame, "Content-Length: "...)
	frame = strconv.AppendInt(frame, int64(len(body)), 10)
	frame = append(frame, "\r\n\r\n"...)
	frame = append(frame, body...)
	_, err := w.Write(frame)
	return err
}
