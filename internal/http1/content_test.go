package http1

import "testing"

func TestContentIsWithoutTheFramingOfChunks(t *testing.T) {
	for _, c := range []struct {
		body      Body
		raw, want string
	}{
		{Body{Kind: Length, Length: 9}, "ab", "ab"},
		{Body{}, "", ""},
		{Body{Kind: Chunked}, "3\r\nabc\r\n0002;x=y\r\nde\r\n0\r\nT: v\r\n\r\n", "abcde"},
		{Body{Kind: Chunked}, "3\r\nabc\r\nff\r\nde", "abcde"},
		{Body{Kind: Chunked}, "3\r\nabcd\r\n", "abc"},
		{Body{Kind: Chunked}, "x", ""},
	} {
		if got := string(c.body.Content([]byte(c.raw))); got != c.want {
			t.Errorf("content of %q is %q, want %q", c.raw, got, c.want)
		}
	}
}
