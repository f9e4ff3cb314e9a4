package http1

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// taken is what a scanner says of bytes that come in pieces of a size.
type taken struct {
	n    int
	done bool
	err  error
}

func takeBy(b Body, data string, size int) (all taken) {
	s := b.Scanner()
	for rest := []byte(data); ; {
		piece := rest[:min(size, len(rest))]
		n, done, err := s.Take(piece)
		all = taken{all.n + n, done, err}
		if rest = rest[n:]; done || err != nil || len(rest) == 0 {
			return all
		}
	}
}

func TestTakeTellsTheEnd(t *testing.T) {
	chunked := Body{Kind: Chunked}
	for _, c := range []struct {
		body       Body
		data, more string
		open       bool
	}{
		{body: Body{}, more: "GET"},
		{body: Body{Kind: Length, Length: 3}, data: "abc", more: "GET"},
		{body: Body{Kind: Length, Length: 4}, data: "abc", open: true},
		{body: Body{Kind: Length, Length: math.MaxInt64}, data: "abc", open: true},
		{body: Body{Kind: UntilClose}, data: "abc", open: true},
		{body: chunked, data: "0\r\n\r\n", more: "GET"},
		{body: chunked, data: "0\r\n\r\n", more: "\r\n"},
		{body: chunked, data: "000\r\n\r\n", more: "0\r\n\r\n"},
		{body: chunked, data: "3\r\nabc\r\n0\r\n\r\n", more: "GET"},
		{body: chunked, data: "3\r\n\r\n0\r\n0\r\n\r\n", more: "GET"},
		{body: chunked, data: "0000000000000003\r\nabc\r\na\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", more: "GET"},
		{body: chunked, data: "3;a\r\nabc\r\n0;a=b;c=\"d\te\xff;\"\r\n\r\n", more: "GET"},
		{body: chunked, data: "3  \r\nabc\r\n0\t\r\n\r\n", more: "GET"},
		{body: chunked, data: "0\r\nA: b\r\nContent-Length:3\r\nc:\r\n\r\n", more: "GET"},
		{body: chunked, data: "7fffffffffffffff\r\nabc", open: true},
		{body: chunked, data: "3\r\nabc\r\n0\r\n", open: true},
		{body: chunked, data: "3\r\nabc", open: true},
		{body: chunked, data: "", open: true},
	} {
		for _, size := range []int{1, 2, 3, 5, 100} {
			if got, want := takeBy(c.body, c.data+c.more, size), (taken{n: len(c.data), done: !c.open}); got != want {
				t.Errorf("%v %q by %d: %v, want %v", c.body, c.data, size, got, want)
			}
		}
	}
}

// oddBodies are chunked, and odd from their second part on.
var oddBodies = []struct{ good, bad string }{
	// RFC 9112 §7.1
	{"", "\r\n"},
	{"", " 3\r\nabc\r\n"},
	{"", ";a\r\n"},
	{"", "g\r\n"},
	{"", "-3\r\n"},
	{"0", "x3\r\n"},
	{"3", "g\r\n"},
	{"3", "\nabc\r\n"},
	{"3\r", "abc\r\n"},
	{"3\r", "\r\nabc"},
	{"3 ", "3\r\nabc"},
	{"3 ", ";a\r\nabc"},
	{"3\r\nabc", "d\r\n"},
	{"3\r\nabc", "\n0\r\n\r\n"},
	{"3\r\nabc\r", "0\r\n\r\n"},
	{"3\r\nabc\r\n", "\r\n0\r\n\r\n"},
	{"7fffffffffffffff", "f\r\n"},
	{"800000000000000", "0\r\n"},
	{"fffffffffffffff", "f\r\n"},
	{"0000000000000000", "3\r\nabc"},
	// §7.1.1: a line feed ends it for some, and not for others
	{"3;a", "\nabc\r\n"},
	{"3;a\r", "b\r\n"},
	{"3;a=", "\x00\r\n"},
	// §7.1.2
	{"0\r\n", "\n"},
	{"0\r\n\r", "a"},
	{"0\r\n", " a: b\r\n\r\n"},
	{"0\r\n", ": b\r\n\r\n"},
	{"0\r\nA", " : b\r\n\r\n"},
	{"0\r\nA", "\r\n\r\n"},
	{"0\r\nA: b", "\n\r\n"},
	{"0\r\nA: b\r", "c\r\n\r\n"},
	{"0\r\nA: b\r\n", " c\r\n\r\n"},
	{"0\r\nA: ", "\x00\r\n\r\n"},
}

func TestTakeTellsWhatIsOdd(t *testing.T) {
	for _, c := range oddBodies {
		for _, size := range []int{1, 2, 100} {
			got := takeBy(Body{Kind: Chunked}, c.good+c.bad, size)
			if got.n != len(c.good) || got.done || !errors.Is(got.err, ErrOdd) {
				t.Errorf("%q then %q by %d: %v", c.good, c.bad, size, got)
			}
		}
	}
}

func TestTakeStaysAtItsError(t *testing.T) {
	s := Body{Kind: Chunked}.Scanner()
	_, _, first := s.Take([]byte("x"))
	n, done, err := s.Take([]byte("0\r\n\r\n"))
	if n != 0 || done || first == nil || err != first {
		t.Errorf("%d, %v, %v after %v", n, done, err, first)
	}
	if _, known := s.Remaining(); known {
		t.Error("something remains of a malformed body")
	}
}

func TestTakeBoundsWhatIsAroundTheData(t *testing.T) {
	line := "3;" + strings.Repeat("a", maxChunkLine-2)
	trailer := "A:" + strings.Repeat("b", MaxHead-6)
	for data, fits := range map[string]bool{
		line + "\r\n":                                    true,
		line + "a\r\n":                                   false,
		"0\r\n" + trailer + "\r\n\r\n":                   true,
		"0\r\n" + trailer + "b\r\n\r\n":                  false,
		"3" + strings.Repeat(" ", maxChunkLine) + "\r\n": false,
	} {
		if got := takeBy(Body{Kind: Chunked}, data, 1000); fits && got.err != nil || !fits && !errors.Is(got.err, ErrLong) {
			t.Errorf("%.10q… of %d bytes: %v", data, len(data), got)
		}
	}
}

func TestSkipCountsWhatRemains(t *testing.T) {
	s := Body{Kind: Length, Length: 5}.Scanner()
	mustTake(t, s, "ab", false)
	mustRemain(t, s, 3, true)
	s.Skip(2)
	mustTake(t, s, "e", true)
	mustRemain(t, s, 0, true)

	s = Body{Kind: Chunked}.Scanner()
	mustRemain(t, s, 0, false)
	mustTake(t, s, "5\r\na", false)
	mustRemain(t, s, 4, true)
	s.Skip(4)
	mustRemain(t, s, 0, false)
	mustTake(t, s, "\r\n0\r\n\r\n", true)
	mustRemain(t, s, 0, true)

	mustRemain(t, Body{}.Scanner(), 0, true)
	s = Body{Kind: UntilClose}.Scanner()
	mustRemain(t, s, 0, false)
	defer func() {
		if recover() == nil {
			t.Error("more was skipped than remains")
		}
	}()
	s.Skip(1)
}

func mustTake(t *testing.T, s *Scanner, data string, end bool) {
	t.Helper()
	if n, done, err := s.Take([]byte(data)); n != len(data) || done != end || err != nil {
		t.Fatalf("%q: %d, %v, %v", data, n, done, err)
	}
}

func mustRemain(t *testing.T, s *Scanner, want int64, wantKnown bool) {
	t.Helper()
	if n, known := s.Remaining(); n != want || known != wantKnown {
		t.Errorf("%d, %v remain, want %d, %v", n, known, want, wantKnown)
	}
}
