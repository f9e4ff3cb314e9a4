//go:build linux

package incoming

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

var plainExchange = exchanged{head: "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n", response: ok}

// corpus has what is odd, rare, or was ever mistaken. Behind each exchange another request follows on the connection.
func corpus() []exchanged {
	const bad = "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad"
	var all []exchanged
	// What two servers could read in two ways.
	for _, head := range []string{
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\r\n : chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n folded\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n",
		"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET  /  HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
		"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
		"GET /\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + strings.Repeat("z", 70<<10) + "\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 2100) + "\r\n",
	} {
		all = append(all, exchanged{head: head, response: bad})
	}
	// What servers answer.
	get := plainExchange.head
	for _, response := range []string{
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
		"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\nstray",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
		"ICY 200 OK\r\n\r\nmusic",
		"HTTP/1.1 200 OK\r\n\r\nuntil close",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 70<<10) + "\r\nContent-Length: 0\r\n\r\n",
		"\x00\x01\x02",
	} {
		all = append(all, exchanged{head: get, response: response})
	}
	return append(all,
		exchanged{head: "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", response: "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"},
		exchanged{head: "GET / HTTP/1.0\r\n\r\n", response: "HTTP/1.0 200 OK\r\n\r\nbody"},
		exchanged{head: "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", response: "HTTP/1.1 200 OK\r\n\r\n"},
		exchanged{head: "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", response: "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"},
		exchanged{head: "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n", body: strings.Repeat("b", 2000000), response: ok, early: true},
	)
}

// regularExchange is one that keeps the connection, written in all the ways that are allowed.
func regularExchange(rt *rapid.T) exchanged {
	method := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "M-SEARCH"}).Draw(rt, "method")
	target := rapid.SampledFrom([]string{"/", "/a?b=c&d", "/%00%2f..", "//x", "http://a/abs", "/" + strings.Repeat("l", 3000)}).Draw(rt, "target")
	lines := []string{rapid.SampledFrom([]string{"Host: a", "host:a", "HOST:  a\t"}).Draw(rt, "host")}
	lines = append(lines, rapid.SliceOfN(rapid.SampledFrom([]string{
		"Accept: */*", "accept:*/*", "X-Empty:", "X-Empty: \t ", "Cookie: a=b", "Cookie: c=d", "X-High: \xff\xfe", "x-UsEr: bob", "Connection: keep-alive",
		"X-Long: " + strings.Repeat("v", 9000), "!#$%&'*+-.^_`|~: odd name",
	}), 0, 5).Draw(rt, "fields")...)
	var x exchanged
	if method != "GET" && method != "HEAD" {
		field, body := anyBody(rt)
		if field != "" {
			lines = append(lines, field)
		}
		x.body = body
	}
	if x.body != "" && rapid.IntRange(0, 3).Draw(rt, "expect") == 0 {
		lines = append(lines, "Expect: 100-Continue")
		x.interim = "HTTP/1.1 100 Continue\r\n\r\n"
	}
	lines = rapid.Permutation(lines).Draw(rt, "order")
	x.head = method + " " + target + " HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
	x.response = anyResponse(rt, method)
	return x
}

func anyBody(rt *rapid.T) (field, body string) {
	n := rapid.SampledFrom([]int{0, 1, 100, 4095, 4096, 5000, 65536, 70000, 300000, 2 << 20}).Draw(rt, "size")
	body = strings.Repeat("0123456789abcde\n", n/16+1)[:n]
	if rapid.Bool().Draw(rt, "known") {
		return fmt.Sprintf("Content-Length: %s%d", rapid.SampledFrom([]string{"", "00"}).Draw(rt, "zeros"), n), body
	}
	var b strings.Builder
	for rest := body; rest != ""; {
		n := min(len(rest), rapid.SampledFrom([]int{1, 10, 4096, 100000, 1 << 20}).Draw(rt, "chunk")+len(rest)/20)
		fmt.Fprintf(&b, "%s%s\r\n%s\r\n", fmt.Sprintf(rapid.SampledFrom([]string{"%x", "%X", "000%x"}).Draw(rt, "format"), n),
			rapid.SampledFrom([]string{"", ";", ";a=b", ";a=\"b c\"", "  "}).Draw(rt, "extension"), rest[:n])
		rest = rest[n:]
	}
	b.WriteString(rapid.SampledFrom([]string{"0\r\n\r\n", "000\r\nTrailer: x\r\n\r\n", "0;last\r\nA: b\r\nC:\r\n\r\n"}).Draw(rt, "end"))
	return rapid.SampledFrom([]string{"Transfer-Encoding: chunked", "transfer-encoding:CHUNKED"}).Draw(rt, "coding"), b.String()
}

func anyResponse(rt *rapid.T, method string) string {
	interim := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", rapid.IntRange(0, 2).Draw(rt, "hints"))
	switch kind := rapid.IntRange(0, 4).Draw(rt, "kind"); {
	case kind == 0:
		return interim + "HTTP/1.1 204 \r\nX: y\r\n\r\n"
	case kind == 1:
		return interim + "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n"
	}
	field, body := anyBody(rt)
	if method == "HEAD" {
		body = ""
	}
	return interim + "HTTP/1.1 200 Fine\r\nDate: now\r\n" + field + "\r\n\r\n" + body
}

// anyExchange is a regular one, or one of the corpus.
func anyExchange(rt *rapid.T) exchanged {
	if rapid.IntRange(0, 2).Draw(rt, "odd") > 0 {
		return regularExchange(rt)
	}
	return rapid.SampledFrom(corpus()).Draw(rt, "of the corpus")
}
