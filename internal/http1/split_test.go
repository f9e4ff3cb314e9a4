package http1

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// requests are accepted, each with its body and without what follows.
var requests = []string{
	lines("GET /a?b=c HTTP/1.1", "Host: web", "User-Agent: curl/8.5.0", "Accept: */*"),
	"\r\n" + lines("GET / HTTP/1.1", "Host: web"),
	lines("GET / HTTP/1.0"),
	lines("GET / HTTP/1.0", "Connection: keep-alive", "Host:"),
	lines("GET http://web:80/a?b HTTP/1.1", "Host: web:80", "Connection: close"),
	lines("OPTIONS * HTTP/1.1", "Host: web"),
	lines("CONNECT web:443 HTTP/1.1", "Host: web:443"),
	lines("GET / HTTP/1.2", "Host: web"),
	lines("GET /100%/\xc3\xa4 HTTP/1.1", "Host: web", "Cookie: \xff=\"a\"; b"),
	lines("GET / HTTP/1.1", "Host: web", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
	lines("POST / HTTP/1.1", "Host: web", "Content-Length: 3") + "abc",
	lines("POST / HTTP/1.1", "Host: web", "Content-Length: 0003", "Expect: 100-continue") + "abc",
	lines("POST / HTTP/1.1", "Host: web", "Content-Length: 0"),
	lines("POST / HTTP/1.1", "Host: web", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n",
	lines("POST / HTTP/1.1", "Host: web", "Transfer-Encoding: Chunked", "Trailer: A") + "3;a=b\r\nabc\r\nA \r\n0123456789\r\n0;c\r\nA: b\r\nC:\r\n\r\n",
	lines("POST / HTTP/1.1", "Host: web", "Transfer-Encoding: chunked", "Trailer: Content-Length") + "0\r\nContent-Length: 3\r\n\r\n",
}

// responses are accepted as to a GET, each with its body and without what follows.
var responses = []string{
	lines("HTTP/1.1 200 OK", "Content-Length: 3") + "abc",
	lines("HTTP/1.1 200", "Content-Length: 3", "Connection: close") + "abc",
	lines("HTTP/1.0 200 ", "Content-Length: 3", "Connection: Keep-Alive") + "abc",
	lines("HTTP/1.1 204 No Content"),
	lines("HTTP/1.1 304 Not Modified", "Content-Length: 3"),
	lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n",
	lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "3;a\r\nabc\r\n0\r\nA: b\r\n\r\n",
	lines("HTTP/1.1 100 Continue"),
	lines("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: a"),
	lines("HTTP/1.1 200 OK") + "abc",
}

// read is all that the package says of a message and of what follows it.
type read struct {
	Head any
	// End of the body in the bytes, and whether it is reached.
	End  int
	Done bool
	// Err is the sentinel.
	Err error
}

// readPieces reads as from a connection that gives the bytes in these pieces.
func readPieces(parse func([]byte) (any, Body, int), pieces ...[]byte) read {
	var got, rest []byte
	var s *Scanner
	r := read{}
	for _, p := range pieces {
		got, rest = append(got, p...), append(rest, p...)
		if r.Head == nil {
			head, body, n := parse(got)
			if head == nil {
				continue
			}
			if err, failed := head.(error); failed {
				r.Err = sentinel(err)
				return r
			}
			r.Head, r.End, rest, s = head, n, got[n:], body.Scanner()
		}
		n, done, err := s.Take(rest)
		r.End, rest = r.End+n, rest[n:]
		if r.Done, r.Err = done, sentinel(err); done || err != nil {
			return r
		}
	}
	return r
}

func sentinel(err error) error {
	for _, s := range []error{ErrNotHTTP, ErrOdd, ErrLong} {
		if errors.Is(err, s) {
			return s
		}
	}
	return err
}

func asRequest(b []byte) (any, Body, int) {
	switch r, err := ParseRequest(b); {
	case err != nil:
		return err, Body{}, 0
	case r == nil:
		return nil, Body{}, 0
	default:
		return r, r.Body, len(r.Raw)
	}
}

func asResponse(b []byte) (any, Body, int) {
	switch r, err := ParseResponse(b, "GET"); {
	case err != nil:
		return err, Body{}, 0
	case r == nil:
		return nil, Body{}, 0
	default:
		return r, r.Body, len(r.Raw)
	}
}

// checkSplit sees that the bytes mean the same in two pieces as in one.
func checkSplit(t *testing.T, parse func([]byte) (any, Body, int), b []byte, at int) {
	t.Helper()
	whole, split := readPieces(parse, b), readPieces(parse, b[:at], b[at:])
	if diff := cmp.Diff(whole, split, cmp.Comparer(func(a, b error) bool { return a == b })); diff != "" {
		t.Errorf("%q, %q: %s", b[:at], b[at:], diff)
	}
}

func TestEverySplitReadsTheSame(t *testing.T) {
	corpus := slices.Clone(requests)
	for _, more := range []map[string]string{oddRequests, notHTTP} {
		for _, m := range more {
			corpus = append(corpus, m)
		}
	}
	for _, m := range corpus {
		for at := range len(m) + 1 {
			checkSplit(t, asRequest, []byte(m+"GET"), at)
		}
	}
	corpus = slices.Clone(responses)
	for _, m := range oddResponses {
		corpus = append(corpus, m)
	}
	for _, m := range corpus {
		for at := range len(m) + 1 {
			checkSplit(t, asResponse, []byte(m+"HTTP"), at)
		}
	}
}

// TestCorpusIsAccepted : the other tests of it would pass with nothing in it.
func TestCorpusIsAccepted(t *testing.T) {
	for _, m := range requests {
		if r := readPieces(asRequest, []byte(m+"GET / HTTP/1.1\r\n")); !r.Done || r.End != len(m) {
			t.Errorf("%q: %+v", m, r)
		}
	}
	for _, m := range responses {
		r := readPieces(asResponse, []byte(m))
		if end := r.Head.(*Response).Body.Kind != UntilClose; r.Done != end || r.End != len(m) || r.Err != nil {
			t.Errorf("%q: %+v", m, r)
		}
	}
}
