package http1

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseResponse(t *testing.T) {
	five := []Field{{"Content-Length", "5"}}
	chunked := []Field{{"Transfer-Encoding", "chunked"}}
	for name, c := range map[string]struct {
		method, head string
		want         Response
	}{
		"length":               {"GET", lines("HTTP/1.1 200 OK", "Content-Length: 5"), Response{Minor: 1, Status: 200, Fields: five, Body: Body{Length, 5}}},
		"length of 0":          {"GET", lines("HTTP/1.1 200 OK", "Content-Length: 0"), Response{Minor: 1, Status: 200, Fields: []Field{{"Content-Length", "0"}}}},
		"chunked":              {"GET", lines("HTTP/1.1 404 Not Found", "Transfer-Encoding: chunked"), Response{Minor: 1, Status: 404, Fields: chunked, Body: Body{Kind: Chunked}}},
		"neither":              {"GET", lines("HTTP/1.1 200 OK"), Response{Minor: 1, Status: 200, Body: Body{Kind: UntilClose}, Close: true}},
		"neither, kept":        {"GET", lines("HTTP/1.0 200 OK", "Connection: keep-alive"), Response{Status: 200, Fields: []Field{{"Connection", "keep-alive"}}, Body: Body{Kind: UntilClose}, Close: true}},
		"old":                  {"GET", lines("HTTP/1.0 200 OK", "Content-Length: 5"), Response{Status: 200, Fields: five, Body: Body{Length, 5}, Close: true}},
		"closed":               {"GET", lines("HTTP/1.1 200 OK", "Connection: close", "Content-Length: 5"), Response{Minor: 1, Status: 200, Fields: append([]Field{{"Connection", "close"}}, five...), Body: Body{Length, 5}, Close: true}},
		"empty reason":         {"GET", lines("HTTP/1.1 200 ", "Content-Length: 5"), Response{Minor: 1, Status: 200, Fields: five, Body: Body{Length, 5}}},
		"no reason":            {"GET", lines("HTTP/1.1 200", "Content-Length: 5"), Response{Minor: 1, Status: 200, Fields: five, Body: Body{Length, 5}}},
		"odd reason":           {"GET", lines("HTTP/1.1 200  \tsch\xf6n ", "Content-Length: 5"), Response{Minor: 1, Status: 200, Fields: five, Body: Body{Length, 5}}},
		"status of no class":   {"GET", lines("HTTP/1.1 999 x", "Content-Length: 5"), Response{Minor: 1, Status: 999, Fields: five, Body: Body{Length, 5}}},
		"HEAD":                 {"HEAD", lines("HTTP/1.1 200 OK", "Content-Length: 5"), Response{Minor: 1, Status: 200, Fields: five}},
		"HEAD, chunked":        {"HEAD", lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), Response{Minor: 1, Status: 200, Fields: chunked}},
		"HEAD, neither":        {"HEAD", lines("HTTP/1.1 200 OK"), Response{Minor: 1, Status: 200}},
		"small head":           {"head", lines("HTTP/1.1 200 OK", "Content-Length: 5"), Response{Minor: 1, Status: 200, Fields: five, Body: Body{Length, 5}}},
		"no content":           {"GET", lines("HTTP/1.1 204 No Content"), Response{Minor: 1, Status: 204}},
		"no content of length": {"GET", lines("HTTP/1.1 204 No Content", "Content-Length: 5"), Response{Minor: 1, Status: 204, Fields: five}},
		"not modified":         {"GET", lines("HTTP/1.1 304 Not Modified", "Content-Length: 5"), Response{Minor: 1, Status: 304, Fields: five}},
		"continue":             {"PUT", lines("HTTP/1.1 100 Continue"), Response{Minor: 1, Status: 100, Interim: true}},
		"early hints":          {"GET", lines("HTTP/1.1 103 Early Hints", "Connection: close"), Response{Minor: 1, Status: 103, Fields: []Field{{"Connection", "close"}}, Interim: true}},
		"switching":            {"GET", lines("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket"), Response{Minor: 1, Status: 101, Fields: []Field{{"Upgrade", "websocket"}}, Switched: true}},
		"connected":            {"CONNECT", lines("HTTP/1.1 200 OK", "Content-Length: 5"), Response{Minor: 1, Status: 200, Fields: five, Switched: true}},
		"not connected":        {"CONNECT", lines("HTTP/1.1 502 Bad Gateway", "Content-Length: 5"), Response{Minor: 1, Status: 502, Fields: five, Body: Body{Length, 5}}},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Raw = []byte(c.head)
			got, err := ParseResponse([]byte(c.head+"12345"), c.method)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// oddResponses could be read in more than one way, or are of no server.
var oddResponses = map[string]string{
	"bare LF":                 "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
	"bare LF behind a field":  "HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\n",
	"bare CR in the reason":   lines("HTTP/1.1 200 O\rK", "Content-Length: 5"),
	"NUL in the reason":       lines("HTTP/1.1 200 O\x00K", "Content-Length: 5"),
	"two spaces":              lines("HTTP/1.1  200 OK", "Content-Length: 5"),
	"tab":                     lines("HTTP/1.1 200\tOK", "Content-Length: 5"),
	"status of two digits":    lines("HTTP/1.1 20", "Content-Length: 5"),
	"status of four digits":   lines("HTTP/1.1 2000 OK", "Content-Length: 5"),
	"status of letters":       lines("HTTP/1.1 2o0 OK", "Content-Length: 5"),
	"signed status":           lines("HTTP/1.1 +20 OK", "Content-Length: 5"),
	"status below 100":        lines("HTTP/1.1 099 OK", "Content-Length: 5"),
	"no status":               lines("HTTP/1.1", "Content-Length: 5"),
	"minor of two digits":     lines("HTTP/1.11 200 OK", "Content-Length: 5"),
	"length and chunked":      lines("HTTP/1.1 200 OK", "Content-Length: 5", "Transfer-Encoding: chunked"),
	"two lengths":             lines("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5"),
	"two lengths in 204":      lines("HTTP/1.1 204 OK", "Content-Length: 5", "Content-Length: 6"),
	"list of lengths":         lines("HTTP/1.1 200 OK", "Content-Length: 5, 5"),
	"signed length":           lines("HTTP/1.1 200 OK", "Content-Length: +5"),
	"coding in 1.0":           lines("HTTP/1.0 200 OK", "Transfer-Encoding: chunked"),
	"identity":                lines("HTTP/1.1 200 OK", "Transfer-Encoding: identity"),
	"gzip, chunked":           lines("HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked"),
	"chunked twice":           lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
	"fold":                    lines("HTTP/1.1 200 OK", "A: b", " c", "Content-Length: 5"),
	"space before a colon":    lines("HTTP/1.1 200 OK", "Content-Length : 5"),
	"control byte in a value": lines("HTTP/1.1 200 OK", "A: \x1b[0m", "Content-Length: 5"),
}

func TestParseResponseTellsWhatIsOdd(t *testing.T) {
	for name, head := range oddResponses {
		if r, err := ParseResponse([]byte(head), "GET"); r != nil || !errors.Is(err, ErrOdd) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

func TestParseResponseTellsWhatIsNotHTTP(t *testing.T) {
	for _, b := range []string{"\x16", "h", "HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", "http/1.1 200 OK\r\n\r\n", "ICY 200 OK\r\n", "\r\nHTTP/1.1 200 OK\r\n\r\n", "\n", "<html>"} {
		if r, err := ParseResponse([]byte(b), "GET"); r != nil || err != ErrNotHTTP {
			t.Errorf("%q: %v, %v", b, r, err)
		}
	}
}

func TestParseResponseNeedsMore(t *testing.T) {
	whole := lines("HTTP/1.1 200 OK", "Content-Length: 5")
	for n := range len(whole) {
		if r, err := ParseResponse([]byte(whole[:n]), "GET"); r != nil || err != nil {
			t.Errorf("%q: %v, %v", whole[:n], r, err)
		}
	}
	if _, err := ParseResponse([]byte("HTTP/1.1 200 OK\r\nA: "+strings.Repeat("a", MaxHead)), "GET"); !errors.Is(err, ErrLong) {
		t.Error(err)
	}
}

func TestFieldsAreFoundByName(t *testing.T) {
	fields := []Field{{"Accept", "a"}, {"CONNECTION", "x, Keep-Alive ,,close\t"}, {"accept", "b"}, {"Connection", "upgrade"}}
	if v, found := Value(fields, "ACCEPT"); v != "a" || !found {
		t.Error(v, found)
	}
	if v, found := Value(fields, "Accep"); v != "" || found {
		t.Error(v, found)
	}
	if diff := cmp.Diff([]string{"a", "b"}, Values(fields, "Accept")); diff != "" {
		t.Error(diff)
	}
	for token, want := range map[string]bool{
		"close": true, "keep-alive": true, "Upgrade": true, "x": true,
		"clos": false, "keep": false, "a": false, "\u212aeep-alive": false,
	} {
		if HasToken(fields, "connection", token) != want {
			t.Errorf("%q: want %v", token, want)
		}
	}
}
