package http1

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lines makes a head of lines, with the empty one.
func lines(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

func TestParseRequest(t *testing.T) {
	for name, c := range map[string]struct {
		head string
		want Request
	}{
		"plain":              {lines("GET /a?b=c HTTP/1.1", "Host: web"), Request{Method: "GET", Target: "/a?b=c", Minor: 1, Fields: []Field{{"Host", "web"}}}},
		"old":                {lines("GET / HTTP/1.0"), Request{Method: "GET", Target: "/", Close: true}},
		"old and kept":       {lines("GET / HTTP/1.0", "Connection: Keep-Alive"), Request{Method: "GET", Target: "/", Fields: []Field{{"Connection", "Keep-Alive"}}}},
		"old, kept, closed":  {lines("GET / HTTP/1.0", "Connection: keep-alive, close"), Request{Method: "GET", Target: "/", Close: true, Fields: []Field{{"Connection", "keep-alive, close"}}}},
		"later minor":        {lines("GET / HTTP/1.2", "Host: web"), Request{Method: "GET", Target: "/", Minor: 2, Fields: []Field{{"Host", "web"}}}},
		"closed":             {lines("GET / HTTP/1.1", "host:web", "connection: x ,\tClose"), Request{Method: "GET", Target: "/", Minor: 1, Close: true, Fields: []Field{{"host", "web"}, {"connection", "x ,\tClose"}}}},
		"empty values":       {lines("GET / HTTP/1.1", "Host:", "A: \t", "B:"), Request{Method: "GET", Target: "/", Minor: 1, Fields: []Field{{"Host", ""}, {"A", ""}, {"B", ""}}}},
		"trimmed, raw bytes": {lines("GET /\xc3\xa4 HTTP/1.1", "Host: web", "A:\t b \xff c\t "), Request{Method: "GET", Target: "/\xc3\xa4", Minor: 1, Fields: []Field{{"Host", "web"}, {"A", "b \xff c"}}}},
		"length":             {lines("PUT / HTTP/1.1", "Host: web", "Content-Length: 0012"), Request{Method: "PUT", Target: "/", Minor: 1, Fields: []Field{{"Host", "web"}, {"Content-Length", "0012"}}, Body: Body{Length, 12}}},
		"length of 0":        {lines("PUT / HTTP/1.1", "Host: web", "Content-Length: 0"), Request{Method: "PUT", Target: "/", Minor: 1, Fields: []Field{{"Host", "web"}, {"Content-Length", "0"}}}},
		"chunked":            {lines("PUT / HTTP/1.1", "Host: web", "transfer-encoding: CHUNKED"), Request{Method: "PUT", Target: "/", Minor: 1, Fields: []Field{{"Host", "web"}, {"transfer-encoding", "CHUNKED"}}, Body: Body{Kind: Chunked}}},
		"expects":            {lines("PUT / HTTP/1.1", "Host: web", "Expect: 100-Continue", "Content-Length: 3"), Request{Method: "PUT", Target: "/", Minor: 1, Fields: []Field{{"Host", "web"}, {"Expect", "100-Continue"}, {"Content-Length", "3"}}, Body: Body{Length, 3}, Expect: true}},
		"expects for naught": {lines("PUT / HTTP/1.1", "Host: web", "Expect: 100-continue"), Request{Method: "PUT", Target: "/", Minor: 1, Fields: []Field{{"Host", "web"}, {"Expect", "100-continue"}}}},
		"upgrade":            {lines("GET / HTTP/1.1", "Host: web", "Connection: keep-alive, Upgrade", "Upgrade: websocket"), Request{Method: "GET", Target: "/", Minor: 1, Fields: []Field{{"Host", "web"}, {"Connection", "keep-alive, Upgrade"}, {"Upgrade", "websocket"}}, Switch: true}},
		"upgrade for others": {lines("GET / HTTP/1.1", "Host: web", "Upgrade: websocket"), Request{Method: "GET", Target: "/", Minor: 1, Fields: []Field{{"Host", "web"}, {"Upgrade", "websocket"}}}},
		"connect":            {lines("CONNECT web:443 HTTP/1.1", "Host: web:443"), Request{Method: "CONNECT", Target: "web:443", Minor: 1, Fields: []Field{{"Host", "web:443"}}, Switch: true}},
		"connect to IPv6":    {lines("CONNECT [::1]:443 HTTP/1.1", "Host: web"), Request{Method: "CONNECT", Target: "[::1]:443", Minor: 1, Fields: []Field{{"Host", "web"}}, Switch: true}},
		"absolute":           {lines("GET http://Web:80/a HTTP/1.1", "Host: web:80"), Request{Method: "GET", Target: "http://Web:80/a", Minor: 1, Fields: []Field{{"Host", "web:80"}}}},
		"absolute and old":   {lines("GET http://web?a HTTP/1.0"), Request{Method: "GET", Target: "http://web?a", Close: true}},
		"asterisk":           {lines("OPTIONS * HTTP/1.1", "Host: web"), Request{Method: "OPTIONS", Target: "*", Minor: 1, Fields: []Field{{"Host", "web"}}}},
		"own method":         {lines("m-get! // HTTP/1.1", "Host: web"), Request{Method: "m-get!", Target: "//", Minor: 1, Fields: []Field{{"Host", "web"}}}},
		"empty line before":  {"\r\n" + lines("GET / HTTP/1.1", "Host: web"), Request{Method: "GET", Target: "/", Minor: 1, Fields: []Field{{"Host", "web"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Raw = []byte(c.head)
			got, err := ParseRequest([]byte(c.head + "GET / and so on"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Error(diff)
			}
			if cap(got.Raw) != len(got.Raw) {
				t.Error("appending to Raw overwrites what follows")
			}
		})
	}
}

// oddRequests could be read in more than one way.
var oddRequests = map[string]string{
	// RFC 9112 §2.2
	"bare LF behind the request line": "GET / HTTP/1.1\nHost: web\r\n\r\n",
	"bare LF behind a field":          "GET / HTTP/1.1\r\nHost: web\nA: b\r\n\r\n",
	"bare LF as the empty line":       "GET / HTTP/1.1\r\nHost: web\r\n\n",
	"bare LF at all ends":             "GET / HTTP/1.1\nHost: web\n\n",
	"bare CR in a value":              lines("GET / HTTP/1.1", "Host: web", "A: b\rContent-Length: 3"),
	"bare CR before a name":           lines("GET / HTTP/1.1", "Host: web", "\rContent-Length: 3"),
	"bare CR in the request line":     lines("GET /\r HTTP/1.1", "Host: web"),
	"CR twice behind a line":          "GET / HTTP/1.1\r\r\nHost: web\r\n\r\n",
	"CR twice behind a field":         "GET / HTTP/1.1\r\nHost: web\r\r\n\r\n",
	"space before the first field":    lines("GET / HTTP/1.1", " Host: web"),
	// §2.3
	"minor of two digits": lines("GET / HTTP/1.10", "Host: web"),
	"minor of a letter":   lines("GET / HTTP/1.x", "Host: web"),
	"no minor":            lines("GET / HTTP/1.", "Host: web"),
	// §3
	"two spaces before the target":  lines("GET  / HTTP/1.1", "Host: web"),
	"two spaces and no target":      lines("GET  HTTP/1.1", "Host: web"),
	"two spaces before the version": lines("GET /  HTTP/1.1", "Host: web"),
	"space in the target":           lines("GET /a b HTTP/1.1", "Host: web"),
	"space behind the version":      lines("GET / HTTP/1.1 ", "Host: web"),
	"tab before the version":        lines("GET /\tHTTP/1.1", "Host: web"),
	"tab in the target":             lines("GET /a\tb HTTP/1.1", "Host: web"),
	"NUL in the target":             lines("GET /a\x00 HTTP/1.1", "Host: web"),
	"DEL in the target":             lines("GET /a\x7f HTTP/1.1", "Host: web"),
	// §3.2
	"no host":                        lines("GET / HTTP/1.1"),
	"two hosts":                      lines("GET / HTTP/1.1", "Host: web", "host: web"),
	"two hosts in 1.0":               lines("GET / HTTP/1.0", "Host: web", "Host: other"),
	"hosts in a list":                lines("GET / HTTP/1.1", "Host: web,other"),
	"host with a space":              lines("GET / HTTP/1.1", "Host: web other"),
	"host with a path":               lines("GET / HTTP/1.1", "Host: web/other"),
	"host with a user":               lines("GET / HTTP/1.1", "Host: other@web"),
	"host with an escape":            lines("GET / HTTP/1.1", "Host: w%65b"),
	"host of other letters":          lines("GET / HTTP/1.1", "Host: w\xc3\xa4b"),
	"other host in the target":       lines("GET http://other/ HTTP/1.1", "Host: web"),
	"other port in the target":       lines("GET http://web:80/ HTTP/1.1", "Host: web"),
	"user in the target":             lines("GET http://other@web/ HTTP/1.1", "Host: web"),
	"no host in the absolute target": lines("GET http:///a HTTP/1.1", "Host:"),
	"target without an authority":    lines("GET urn:a HTTP/1.1", "Host: web"),
	"target of two schemes":          lines("GET a:b://web/ HTTP/1.1", "Host: web"),
	"fragment":                       lines("GET /a#b HTTP/1.1", "Host: web"),
	"asterisk of GET":                lines("GET * HTTP/1.1", "Host: web"),
	"asterisk and more":              lines("OPTIONS *a HTTP/1.1", "Host: web"),
	"connect to a path":              lines("CONNECT web/a HTTP/1.1", "Host: web"),
	// §5.1, §5.2, RFC 9110 §5.1, §5.5
	"space before a colon":      lines("GET / HTTP/1.1", "Host : web"),
	"tab before a colon":        lines("GET / HTTP/1.1", "Host: web", "Content-Length\t: 3"),
	"space in a name":           lines("GET / HTTP/1.1", "Host: web", "A B: c"),
	"fold":                      lines("GET / HTTP/1.1", "Host: web", "A: b", " c"),
	"fold by a tab":             lines("GET / HTTP/1.1", "Host: web", "A: b", "\tc: d"),
	"fold that is empty":        lines("GET / HTTP/1.1", "Host: web", " "),
	"no name":                   lines("GET / HTTP/1.1", "Host: web", ": a"),
	"no colon":                  lines("GET / HTTP/1.1", "Host: web", "a"),
	"name with a brace":         lines("GET / HTTP/1.1", "Host: web", "a(b: c"),
	"name with another letter":  lines("GET / HTTP/1.1", "Host: web", "\xc3\xa4: c"),
	"NUL in a name":             lines("GET / HTTP/1.1", "Host: web", "a\x00b: c"),
	"NUL in a value":            lines("GET / HTTP/1.1", "Host: web", "a: b\x00c"),
	"control byte in a value":   lines("GET / HTTP/1.1", "Host: web", "a: b\x01c"),
	"vertical tab before value": lines("GET / HTTP/1.1", "Host: web", "Transfer-Encoding: \vchunked"),
	"DEL in a value":            lines("GET / HTTP/1.1", "Host: web", "a: b\x7fc"),
	// §6.1, §6.3, RFC 9110 §8.6
	"length and chunked":       lines("PUT / HTTP/1.1", "Host: web", "Content-Length: 5", "Transfer-Encoding: chunked"),
	"chunked and length of 0":  lines("PUT / HTTP/1.1", "Host: web", "Transfer-Encoding: chunked", "Content-Length: 0"),
	"two lengths":              lines("PUT / HTTP/1.1", "Host: web", "Content-Length: 5", "Content-Length: 6"),
	"the same length twice":    lines("PUT / HTTP/1.1", "Host: web", "Content-Length: 5", "content-length: 5"),
	"a list of lengths":        lines("PUT / HTTP/1.1", "Host: web", "Content-Length: 5, 5"),
	"positive length":          lines("PUT / HTTP/1.1", "Host: web", "Content-Length: +5"),
	"negative length":          lines("PUT / HTTP/1.1", "Host: web", "Content-Length: -5"),
	"hexadecimal length":       lines("PUT / HTTP/1.1", "Host: web", "Content-Length: 0x5"),
	"length with a space":      lines("PUT / HTTP/1.1", "Host: web", "Content-Length: 5 5"),
	"length with an underline": lines("PUT / HTTP/1.1", "Host: web", "Content-Length: 5_0"),
	"empty length":             lines("PUT / HTTP/1.1", "Host: web", "Content-Length:"),
	"length of 64 bits":        lines("PUT / HTTP/1.1", "Host: web", "Content-Length: 9223372036854775808"),
	"length of more":           lines("PUT / HTTP/1.1", "Host: web", "Content-Length: 18446744073709551621"),
	"chunked, chunked":         lines("PUT / HTTP/1.1", "Host: web", "Transfer-Encoding: chunked, chunked"),
	"chunked twice":            lines("PUT / HTTP/1.1", "Host: web", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
	"xchunked":                 lines("PUT / HTTP/1.1", "Host: web", "Transfer-Encoding: xchunked"),
	"identity":                 lines("PUT / HTTP/1.1", "Host: web", "Transfer-Encoding: identity"),
	"gzip, chunked":            lines("PUT / HTTP/1.1", "Host: web", "Transfer-Encoding: gzip, chunked"),
	"chunked in quotes":        lines("PUT / HTTP/1.1", "Host: web", `Transfer-Encoding: "chunked"`),
	"chunked with a parameter": lines("PUT / HTTP/1.1", "Host: web", "Transfer-Encoding: chunked;a=b"),
	"chunked with a comma":     lines("PUT / HTTP/1.1", "Host: web", "Transfer-Encoding: chunked,"),
	"empty coding":             lines("PUT / HTTP/1.1", "Host: web", "Transfer-Encoding:"),
	"coding in 1.0":            lines("PUT / HTTP/1.0", "Transfer-Encoding: chunked"),
	// RFC 9110 §9.3.6
	"connect with a body":   lines("CONNECT web:1 HTTP/1.1", "Host: web:1", "Content-Length: 1"),
	"connect with chunks":   lines("CONNECT web:1 HTTP/1.1", "Host: web:1", "Transfer-Encoding: chunked"),
	"connect of net/rpc":    "CONNECT /_goRPC_ HTTP/1.0\n\n",
	"connect to no address": lines("CONNECT /a HTTP/1.1", "Host: web"),
}

func TestParseRequestTellsWhatIsOdd(t *testing.T) {
	said := map[string]bool{}
	for name, head := range oddRequests {
		r, err := ParseRequest([]byte(head))
		if r != nil || !errors.Is(err, ErrOdd) {
			t.Errorf("%s: %v, %v", name, r, err)
			continue
		}
		said[err.Error()] = true
		if !strings.Contains(err.Error(), "RFC") {
			t.Errorf("%s: %q names no rule", name, err)
		}
	}
	if len(said) < 25 {
		t.Errorf("only %d kinds of odd are told apart", len(said))
	}
}

var notHTTP = map[string]string{
	"HTTP/2":           "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"TLS":              "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	"MySQL":            "\x4a\x00\x00\x00\x0a8.0.36\x00",
	"PostgreSQL":       "\x00\x00\x00\x08\x04\xd2\x16\x2f",
	"SSH":              "SSH-2.0-OpenSSH_9.6 Debian-3\r\n",
	"Redis":            "*1\r\n$4\r\nPING\r\n",
	"Redis, inline":    "PING\r\n",
	"Redis, set":       "SET a b\r\n",
	"memcached":        "get abc\r\n",
	"SMTP":             "EHLO web\r\n",
	"SMTP, later":      "MAIL FROM:<a@web>\r\n",
	"NATS":             "CONNECT {\"verbose\":false}\r\n",
	"AMQP":             "AMQP\x00\x00\x09\x01",
	"proxy protocol":   "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
	"proxy protocol 2": "\r\n\r\n\x00\r\nQUIT\n",
	"RTSP":             "OPTIONS rtsp://web/ RTSP/1.0\r\n",
	"SIP":              "INVITE sip:a@web SIP/2.0\r\n",
	"HTTP/0.9":         "GET /\r\n",
	"HTTP/0.9, bare":   "GET /\n",
	"HTTP/3":           "GET / HTTP/3.0\r\n",
	"small letters":    "GET / http/1.1\r\n",
	"no target":        "GET HTTP/1.1\r\n",
	"relative target":  "GET a HTTP/1.1\r\n",
	"no method":        " / HTTP/1.1\r\n",
	"tab":              "GET\t/ HTTP/1.1\r\n",
	"two empty lines":  "\r\n\r\nGET / HTTP/1.1\r\n",
	"bare empty line":  "\nGET / HTTP/1.1\r\n",
	"bare CR":          "\rGET / HTTP/1.1\r\n",
	"long word":        strings.Repeat("a", maxWord+1),
	"long scheme":      "GET " + strings.Repeat("a", maxWord+1),
}

func TestParseRequestTellsWhatIsNotHTTP(t *testing.T) {
	for name, b := range notHTTP {
		if r, err := ParseRequest([]byte(b)); r != nil || err != ErrNotHTTP {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

func TestParseRequestBoundsHeads(t *testing.T) {
	start := "GET / HTTP/1.1\r\nHost: web\r\nA: "
	fits := start + strings.Repeat("a", MaxHead-len(start)-4) + "\r\n\r\n"
	if r, err := ParseRequest([]byte(fits + "more")); err != nil || len(r.Raw) != MaxHead {
		t.Errorf("a head of MaxHead bytes: %v", err)
	}
	if r, err := ParseRequest([]byte(fits[:MaxHead-1])); r != nil || err != nil {
		t.Errorf("the beginning of a head of MaxHead bytes: %v, %v", r, err)
	}
	for name, b := range map[string]string{
		"longer":                 start + "a" + fits[len(start):],
		"longer and not over":    start + strings.Repeat("a", MaxHead),
		"line as long":           "GET /" + strings.Repeat("a", MaxHead),
		"many fields":            "GET / HTTP/1.1\r\nHost: web\r\n" + strings.Repeat("a:\r\n", maxFields) + "\r\n",
		"many fields, not over":  "GET / HTTP/1.1\r\n" + strings.Repeat("a:\r\n", maxFields+1),
		"empty line one too far": start + strings.Repeat("a", MaxHead-len(start)-3) + "\r\n\r\n",
	} {
		if r, err := ParseRequest([]byte(b)); r != nil || !errors.Is(err, ErrLong) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if r, err := ParseRequest([]byte("GET / HTTP/1.1\r\nHost: web\r\n" + strings.Repeat("a:\r\n", maxFields-1) + "\r\n")); err != nil || len(r.Fields) != maxFields {
		t.Errorf("as many fields as may be: %v", err)
	}
}

func TestParseRequestNeedsMore(t *testing.T) {
	whole := "\r\n" + lines("POST /a HTTP/1.1", "Host: web", "Content-Length: 3")
	for n := range len(whole) {
		if r, err := ParseRequest([]byte(whole[:n])); r != nil || err != nil {
			t.Errorf("%q: %v, %v", whole[:n], r, err)
		}
	}
}

// TestParseRequestDecidesEarly : what comes to no end would be waited for.
func TestParseRequestDecidesEarly(t *testing.T) {
	for b, want := range map[string]error{
		"\x16":                             ErrNotHTTP,
		"PRI *":                            ErrNotHTTP,
		"SET foo ":                         ErrNotHTTP,
		"INVITE sip:a@web SIP/2.0\r\n":     ErrNotHTTP,
		"GET / HTTP/1.1\n":                 ErrOdd,
		"GET / HTTP/1.1\r\nHost: web\n":    ErrOdd,
		"GET /\x00":                        ErrOdd,
		"GET / HTTP/1.1\r\nHost: web\x00b": ErrOdd,
		"GET /a b HTTP/1.1\r\n":            ErrOdd,
	} {
		if _, err := ParseRequest([]byte(b)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", b, err, want)
		}
	}
}

func TestLooksLike(t *testing.T) {
	type verdict struct{ is, enough bool }
	undecided, no, yes := verdict{}, verdict{enough: true}, verdict{true, true}
	for b, want := range map[string]verdict{
		"": undecided, "G": undecided, "GET": undecided, "GET ": undecided, "GET /": yes, "GET  ": yes,
		"\r": undecided, "\r\n": undecided, "\r\nGET /": yes, "\r\r": no, "\n": no, "\r\n\r": no,
		"GET h": undecided, "GET http": undecided, "GET http:": yes, "GET 1": no, "GET h ": no,
		"PRI": undecided, "PRI ": undecided, "PRI *": no, "OPTIONS *": yes,
		"CONNECT ": undecided, "CONNECT w": yes, "CONNECT [": yes, "CONNECT {": no,
		"\x16": no, " ": no, "GET\r": no, "{": no, "get /": yes, "ruok": undecided,
		strings.Repeat("a", maxWord): undecided, strings.Repeat("a", maxWord) + " /": yes, strings.Repeat("a", maxWord+1): no,
	} {
		is, enough := LooksLike([]byte(b))
		if got := (verdict{is, enough}); got != want {
			t.Errorf("%q: %+v, want %+v", b, got, want)
		}
	}
}
