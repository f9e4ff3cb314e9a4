package http1

import (
	"bytes"
	"fmt"
	"strings"
)

// maxFields bounds what a head of many short lines makes of its bytes: a Field is 32 bytes. Node.js takes as many.
const maxFields = 2000

func odd(what string) error { return fmt.Errorf("%w: %s", ErrOdd, what) }

// findEnd finds the end of the head whose first line begins at from, and counts the lines between the first and the empty
// one. No end means that more bytes are needed. It says early what would otherwise be waited for in vain: bare line feeds
// and NUL. It is cheap for a head that comes in small pieces, of which all but the last call end here.
func findEnd(b []byte, from int) (end, fields int, err error) {
	within := b[:min(len(b), MaxHead)]
	for lines := 0; ; lines++ {
		n := bytes.IndexByte(within[from:], '\n')
		if n < 0 {
			break
		}
		if n == 0 || within[from+n-1] != '\r' {
			return 0, 0, odd("a bare line feed (RFC 9112 §2.2)")
		}
		from += n + 1
		if n == 1 && lines > 0 {
			return from, lines - 1, nil
		}
		if lines > maxFields {
			return 0, 0, fmt.Errorf("%w: more than %d fields", ErrLong, maxFields)
		}
	}
	switch {
	case bytes.IndexByte(within, 0) >= 0:
		return 0, 0, odd("a NUL (RFC 9110 §5.5)")
	case len(b) >= MaxHead:
		return 0, 0, ErrLong
	}
	return 0, 0, nil
}

// cutFields cuts n field lines (RFC 9112 §5), which the empty line follows, and notes in f what they say of the message.
func (f *framing) cutFields(s string, n int) ([]Field, error) {
	if n == 0 {
		return nil, nil
	}
	fields := make([]Field, n)
	for i := range fields {
		colon := 0
		for colon < len(s) && is(s[colon], token) {
			colon++
		}
		if colon == 0 || colon == len(s) || s[colon] != ':' {
			return nil, badName(s, colon)
		}
		end := colon + 1
		for end < len(s) && is(s[end], text) {
			end++
		}
		// findEnd saw that each line feed has its carriage return
		if end+1 >= len(s) || s[end] != '\r' || s[end+1] != '\n' {
			return nil, odd("a bare carriage return or another control byte in a field's value (RFC 9112 §2.2, RFC 9110 §5.5)")
		}
		fields[i] = Field{Name: s[:colon], Value: strings.Trim(s[colon+1:end], " \t")}
		if err := f.note(fields[i]); err != nil {
			return nil, err
		}
		s = s[end+2:]
	}
	return fields, nil
}

// badName says what is odd of a line whose name ends at a byte that is neither a token's nor a colon.
func badName(line string, at int) error {
	c := byte('\r')
	if at < len(line) {
		c = line[at]
	}
	switch {
	case at == 0 && (c == ' ' || c == '\t'):
		return odd("a folded field, or white space before the first one (RFC 9112 §5.2, §2.2)")
	case at == 0 && c == ':':
		return odd("a field without a name (RFC 9112 §5)")
	case c == ' ' || c == '\t':
		return odd("white space in or behind a field's name (RFC 9112 §5.1)")
	case c == '\r':
		return odd("a field line without a colon (RFC 9112 §5)")
	}
	return odd("a field's name that is no token (RFC 9110 §5.1)")
}

// cutVersion tells the digit of "HTTP/1.x". A minor version above 1 is processed as 1.1 is (RFC 9110 §2.5): a later one changes
// neither the framing nor what a proxy of 1.1 may do.
func cutVersion(version string) (int, error) {
	if !strings.HasPrefix(version, prefix) {
		return 0, ErrNotHTTP
	}
	if len(version) != len(prefix)+1 || version[len(prefix)] < '0' || version[len(prefix)] > '9' {
		return 0, odd("a version that is not of two digits (RFC 9112 §2.3)")
	}
	return int(version[len(prefix)] - '0'), nil
}

// prefix of the versions; letters of another case are another name (RFC 9112 §2.3).
const prefix = "HTTP/1."
