package sieve

import (
	"bytes"
	"errors"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

// About is what a filter is shown of a request's head.
func About(r *http1.Request) filter.Request {
	return filter.Request{Method: r.Method, Target: r.Target, Fields: r}
}

// Content is what a filter is shown of a body, of which the first bytes are known as they were sent.
func Content(body http1.Body, known []byte) (content []byte, complete bool) {
	_, complete, _ = body.Scanner().Take(known)
	return body.Content(known), complete
}

// Why says what it is about a client's bytes that http1.ParseRequest gave err for. first says that they are the
// connection's first.
func Why(b []byte, err error, first bool) wire.Unread {
	switch {
	case first && IsTLS(b):
		return wire.UnreadTLS
	case bytes.HasPrefix(b, []byte("PRI *")):
		return wire.UnreadHTTP2
	case errors.Is(err, http1.ErrNotHTTP):
		return wire.UnreadOther
	case errors.Is(err, http1.ErrOdd):
		return wire.UnreadOdd
	case errors.Is(err, http1.ErrLong):
		return wire.UnreadLong
	}
	return wire.UnreadOdd
}

// tlsBegins is the first byte of a handshake's record (RFC 8446 §5.1).
const tlsBegins = "\x16"

// IsTLS tells such a record, of any version since SSL 3.0, if there is more of it than that byte.
func IsTLS(b []byte) bool { return len(b) > 0 && b[0] == tlsBegins[0] && (len(b) == 1 || b[1] == 3) }
