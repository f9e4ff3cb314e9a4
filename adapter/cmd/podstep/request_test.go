package main

import (
	"fmt"
	"strings"
	"testing"

	"podstep.dev/internal/fault"
)

func TestReadRequest(t *testing.T) {
	tests := map[string]struct{ text, head, body string }{
		"as it is sent":   {"POST /a?b HTTP/1.1\r\nHost: shop\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\n{}", "POST /a?b [{Host shop} {Content-Length 2} {X-A 1} {X-A 2}]", "{}"},
		"by hand":         {"POST /a HTTP/1.1\nHost: shop\n\n{\n}\n", "POST /a [{Host shop}]", "{\n}\n"},
		"no empty line":   {"GET /a HTTP/1.1\nHost: shop", "GET /a [{Host shop}]", ""},
		"one line":        {"GET / HTTP/1.1\n", "GET / []", ""},
		"another length":  {"POST / HTTP/1.1\nHost: a\nContent-Length: 100\n\n{}", "POST / [{Host a} {Content-Length 100}]", "{}"},
		"chunks":          {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "POST / [{Host a}]", "{}"},
		"escapes in path": {"GET /%2e%2E/%c3 HTTP/1.1\n\n", "GET /%2e%2E/%c3 []", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCall(0, nil)
			c.in = strings.NewReader(tt.text)
			r, err := c.readRequest("-")
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(r.Method, " ", r.Target, " ", r.Fields); got != tt.head || string(r.body) != tt.body {
				t.Errorf("read %s with body %q\nwant %s with %q", got, r.body, tt.head, tt.body)
			}
		})
	}
	for _, text := range []string{"", "hello", "GET / HTTP/1.1\nno field\n\n", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nx\n"} {
		c := newCall(0, nil)
		c.in = strings.NewReader(text)
		if _, err := c.readRequest("-"); fault.As(err).ID != fault.BadFile {
			t.Errorf("readRequest(%q) = %v, want BadFile", text, err)
		}
	}
}
