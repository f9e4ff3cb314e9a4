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
	// folded field, a transfer coding besides a length, two lengths, white space before a colon, two hosts, a malformed chunk.
	ErrOdd = errors.New("ambiguous HTTP/1 message")
	// ErrLong : a head of more than MaxHead bytes or of more than 2,000 fields, as long a trailer, or a chunk's line beyond 4 KiB.
	ErrLong = errors.New("HTTP/1 head, trailer or chunk line too long")
)

// MaxHead is the longest head in bytes.
const MaxHead = 64 << 10

// Field is one field line of a head; Name is as it was sent, Value without the white space around it.
type Field struct{ Name, Value string }

// Request is a request's head.
type Request struct {
	// Raw is the head as it was sent, with the empty line behind it, and the one before it if there is. It aliases what it was parsed from;
	// what else is here does not.
	Raw []byte
	// Method, Target and Minor (of HTTP/1.x, 0 to 9) are the request line's. A target in absolute form names the same host as the field.
	Method, Target string
	Minor          int
	Fields         []Field
	Body           Body
	// Close : no other request follows on the connection.
	Close bool
	// Switch : the client offers to go on in another protocol (Upgrade, CONNECT). It may be in HTTP/1.0 too, where servers are to ignore it:
	// the answer tells.
	Switch bool
	// Expect : the client waits for 100 (Continue) before it sends the body, which there is.
	Expect bool
}

// Len is the number of fields.
func (r *Request) Len() int { return len(r.Fields) }

// At is field i.
func (r *Request) At(i int) (name, value string) { return r.Fields[i].Name, r.Fields[i].Value }

// Response is a response's head.
type Response struct {
	// Raw is the head as it was sent, with the empty line behind it. It aliases what it was parsed from; what else is here does not.
	Raw    []byte
	Minor  int
	Status int
	Fields []Field
	Body   Body
	// Close : no other response follows on the connection. It is not said of Interim and Switched.
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
