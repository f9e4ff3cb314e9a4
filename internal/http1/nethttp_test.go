package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What this package accepts, net/http must accept too, and find the same end. It is laxer in what is odd here: it takes bare line feeds, folded
// fields, equal lengths twice, a length besides chunks, a transfer coding in HTTP/1.0 (which it does not see), no Host, a Host of another
// host than the target, a fragment, an asterisk of any method, a CONNECT with a body, spaces in a target and before a status.
//
// It is stricter in what does not change where a message ends, and is left out of the comparison:
//   - an empty line before a request line, which only its server skips, and only behind a POST
//   - a target that is no URL, as of a wrong escape ("/100%")
//   - a field Trailer that announces Content-Length, Transfer-Encoding or Trailer
//   - extensions of chunks of more than 16 KiB altogether, and trailers that its buffer does not hold
const (
	badTrailer = "bad trailer key"
	longChunks = "chunked encoding contains too much non-data"
)

// stdBuffer holds whatever a test reads, so that what is left in it tells where a message ended.
const stdBuffer = 1 << 20

// checkRequest compares with net/http what is accepted.
func checkRequest(t *testing.T, b []byte) {
	t.Helper()
	ours, err := ParseRequest(b)
	if err != nil && ours != nil {
		t.Fatalf("%q: both %v and %v", b, ours, err)
	}
	if ours == nil {
		return
	}
	if is, enough := LooksLike(b); !is || !enough {
		t.Errorf("%q does not look like what it is", b)
	}
	if !bytes.HasPrefix(b, ours.Raw) {
		t.Errorf("%q begins otherwise than %q", b, ours.Raw)
	}
	target := ours.Target
	message := bytes.TrimPrefix(b, []byte("\r\n"))
	if _, err := url.ParseRequestURI(target); err != nil && ours.Method != "CONNECT" {
		target = "/"
		message = bytes.Replace(message, []byte(ours.Target), []byte(target), 1)
	} else if _, err := url.ParseRequestURI("http://" + target); err != nil && ours.Method == "CONNECT" {
		return
	}
	buffered := bufio.NewReaderSize(bytes.NewReader(message), stdBuffer)
	theirs, err := http.ReadRequest(buffered)
	if err != nil {
		if !strings.Contains(err.Error(), badTrailer) {
			t.Errorf("%q is refused by net/http: %v", b, err)
		}
		return
	}
	host, named := Value(ours.Fields, "Host")
	if theirs.Method != ours.Method || theirs.RequestURI != target || theirs.ProtoMinor != ours.Minor || theirs.Close != ours.Close {
		t.Errorf("%q: %+v, net/http: %+v", b, ours, theirs)
	}
	if named && ours.Method != "CONNECT" && !strings.EqualFold(host, theirs.Host) {
		t.Errorf("%q: host %q, net/http: %q", b, host, theirs.Host)
	}
	checkFields(t, ours.Fields, theirs.Header)
	if got := stdLength(theirs.ContentLength, theirs.TransferEncoding); got != ours.Body {
		t.Errorf("%q: %+v, net/http: %+v", b, ours.Body, got)
	}
	checkBody(t, ours.Body, b[len(ours.Raw):], theirs.Body, buffered)
}

// checkResponse compares with net/http what is accepted.
func checkResponse(t *testing.T, b []byte, method string) {
	t.Helper()
	ours, err := ParseResponse(b, method)
	if err != nil && ours != nil {
		t.Fatalf("%q: both %v and %v", b, ours, err)
	}
	if ours == nil {
		return
	}
	buffered := bufio.NewReaderSize(bytes.NewReader(b), stdBuffer)
	theirs, err := http.ReadResponse(buffered, &http.Request{Method: method})
	if err != nil {
		if !strings.Contains(err.Error(), badTrailer) {
			t.Errorf("%q is refused by net/http: %v", b, err)
		}
		return
	}
	if theirs.StatusCode != ours.Status || theirs.ProtoMinor != ours.Minor {
		t.Errorf("%q: %+v, net/http: %+v", b, ours, theirs)
	}
	if ours.Interim || ours.Switched {
		return // net/http knows neither by itself
	}
	if ours.Close != theirs.Close {
		t.Errorf("%q: closes %v, net/http: %v", b, ours.Close, theirs.Close)
	}
	// net/http also gives the length of a body that is not sent, so that None says less than the others.
	if got := stdLength(theirs.ContentLength, theirs.TransferEncoding); ours.Body.Kind != None && got != ours.Body {
		t.Errorf("%q: %+v, net/http: %+v", b, ours.Body, got)
	}
	checkBody(t, ours.Body, b[len(ours.Raw):], theirs.Body, buffered)
}

func stdLength(length int64, codings []string) Body {
	switch {
	case len(codings) > 0:
		return Body{Kind: Chunked}
	case length > 0:
		return Body{Kind: Length, Length: length}
	case length < 0:
		return Body{Kind: UntilClose}
	}
	return Body{}
}

// checkFields compares the fields that net/http leaves in its map.
func checkFields(t *testing.T, fields []Field, theirs http.Header) {
	t.Helper()
	ours := http.Header{}
	for _, f := range fields {
		ours.Add(f.Name, f.Value)
	}
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Trailer", "Pragma", "Cache-Control"} {
		ours.Del(name)
		theirs.Del(name)
	}
	if diff := cmp.Diff(ours, theirs); diff != "" {
		t.Error(diff)
	}
}

// checkBody compares the end that the scanner finds in the bytes behind a head with where net/http stops to read.
func checkBody(t *testing.T, body Body, b []byte, theirs io.Reader, buffered *bufio.Reader) {
	t.Helper()
	n, done, ourErr := body.Scanner().Take(b)
	if got, want := takeBy(body, string(b), 1), (taken{n, done, sentinel(ourErr)}); got.n != want.n || got.done != want.done || sentinel(got.err) != want.err {
		if body.Kind != None && len(b) > 0 {
			t.Errorf("%q byte by byte: %v, at once: %v", b, got, want)
		}
	}
	if ourErr != nil {
		return
	}
	data, err := io.ReadAll(theirs)
	end := len(b) - buffered.Buffered()
	switch {
	case err != nil && strings.Contains(err.Error(), longChunks):
	case body.Kind == UntilClose:
		if err != nil || n != len(b) || len(data) != n {
			t.Errorf("%q: %d bytes, net/http: %d, %v", b, n, len(data), err)
		}
	case done:
		if err != nil || end != n {
			t.Errorf("%q: body of %d bytes, net/http: %d, %v", b, n, end, err)
		}
		if body.Kind == Length && !bytes.Equal(data, b[:n]) {
			t.Errorf("%q: body %q, net/http: %q", b, b[:n], data)
		}
	case err == nil:
		t.Errorf("%q: the body goes on, for net/http it ends at %d", b, end)
	case !errors.Is(err, io.ErrUnexpectedEOF) && !isShortTrailer(err):
		t.Errorf("%q: the body goes on, net/http: %v", b, err)
	}
}

// isShortTrailer tells what net/http says of a trailer that is not over.
func isShortTrailer(err error) bool {
	var malformed textproto.ProtocolError
	return errors.Is(err, io.EOF) || errors.As(err, &malformed) || strings.Contains(err.Error(), "trailer")
}

func TestNetHTTPAgreesOnRequests(t *testing.T) {
	for _, m := range requests {
		checkRequest(t, []byte(m+"GET / HTTP/1.1\r\n"))
	}
}

func TestNetHTTPAgreesOnResponses(t *testing.T) {
	for _, m := range responses {
		for _, method := range []string{"GET", "HEAD", "CONNECT"} {
			checkResponse(t, []byte(m+"HTTP/1.1 200 OK\r\n"), method)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, m := range requests {
		f.Add([]byte(m+"GET"), uint16(len(m)/2))
	}
	for _, more := range []map[string]string{oddRequests, notHTTP} {
		for _, m := range more {
			f.Add([]byte(m), uint16(len(m)/2))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		checkRequest(t, b)
		checkSplit(t, asRequest, b, int(at)%(len(b)+1))
	})
}

func FuzzParseResponse(f *testing.F) {
	for _, m := range responses {
		f.Add([]byte(m+"HTTP"), uint16(len(m)/2), "GET")
		f.Add([]byte(m), uint16(0), "HEAD")
	}
	for _, m := range oddResponses {
		f.Add([]byte(m), uint16(len(m)/2), "CONNECT")
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, method string) {
		checkResponse(t, b, method)
		checkSplit(t, asResponse, b, int(at)%(len(b)+1))
	})
}

func FuzzChunked(f *testing.F) {
	for _, m := range append(requests, responses...) {
		if _, body, chunked := strings.Cut(m, "\r\n\r\n"); chunked {
			f.Add([]byte(body + "GET"))
		}
	}
	for _, c := range oddBodies {
		f.Add([]byte(c.good + c.bad))
		f.Add([]byte(c.good + c.bad + "\r\n0\r\n\r\n"))
	}
	// One byte of these is wrong, and nothing behind it.
	for _, body := range []string{"3\r\nabcx\n0\r\n\r\n", "3\r\nabc\rx0\r\n\r\n", "3\rxabc\r\n0\r\n\r\n", "0\r\nA@b\r\n\r\n", "0\r\nA:b\rx\r\n", "0\r\n\rx"} {
		f.Add([]byte(body))
	}
	f.Add([]byte("3;a=\"\xff\t\"  \r\nabc\r\n000 \t\r\nA:b\r\nc:\r\n\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		head := lines("POST / HTTP/1.1", "Host: web", "Transfer-Encoding: chunked")
		checkRequest(t, append([]byte(head), b...))
	})
}
