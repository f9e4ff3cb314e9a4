// Package http1 reads the heads and tells the ends of HTTP/1.0 and 1.1 messages without changing a byte of them, so that
// whoever passes them on stays in step with both ends. It is strict: whatever two parsers could take for different things
// is [ErrOdd], and is then better passed on as plain bytes. It does no I/O.
package http1

import "errors"

// Errors of the parsers.
var (
	// ErrNotHTTP : the bytes do not begin as a message of HTTP/1 does.
	ErrNotHTTP = errors.New("not HTTP/1")
	// ErrOdd is wrapped by what is said of a message that could be read in more than one way (RFC 9112 §11.2): a bare line feed, a
	// folded field, a transfer coding besides a length, two lengths, white space before a colon, a malformed chunk.
	ErrOdd = errors.New("ambiguous HTTP/1 message")
	// ErrLong : a head of more than MaxHead bytes.
	ErrLong = errors.New("head too long")
)

// MaxHead is the longest head in bytes.
const MaxHead = 64 << 10

// Field is one field line of a head; Name is as it was sent, Value without the white space around it.
type Field struct{ Name, Value string }

// Request is a request's head.
type Request struct {
	// Raw is the head as it was sent, with the empty line behind it. It aliases what it was parsed from.
	Raw []byte
	// Method, Target and Minor (of HTTP/1.x) are the request line's.
	Method, Target string
	Minor          int
	Fields         []Field
	Body           Body
	// Close : no other request follows on the connection.
	Close bool
	// Switch : the client offers to go on in another protocol (Upgrade, CONNECT).
	Switch bool
	// Expect : the client waits for 100 (Continue) before it sends the body.
	Expect bool
}

// Response is a response's head.
type Response struct {
	Raw    []byte
	Minor  int
	Status int
	Fields []Field
	Body   Body
	// Close : no other response follows on the connection.
	Close bool
	// Interim : a response 1xx that a final one follows, on the same connection. 101 is none.
	Interim bool
	// Switched : what follows is of another protocol: 101, or 2xx to CONNECT.
	Switched bool
}

// Kind says how a body ends.
type Kind int

// How bodies end.
const (
	// None : there is none.
	None Kind = iota
	// Length : after so many bytes.
	Length
	// Chunked : with its last chunk and the trailer.
	Chunked
	// UntilClose : with the connection.
	UntilClose
)

// Body says how a message's body ends.
type Body struct {
	Kind Kind
	// Length in bytes, of Kind Length; never 0.
	Length int64
}
