package sieve

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

const (
	mine   = "GET /mine HTTP/1.1\r\nHost: shop\r\nX-User: alice\r\n\r\n"
	others = "GET /others HTTP/1.1\r\nHost: shop\r\n\r\n"
	probe  = "GET /healthz HTTP/1.1\r\nHost: shop\r\nX-User: alice\r\n\r\n"
)

// post is a request of alice's, unless the path is "/others".
func post(path, body string) string {
	user := "X-User: alice\r\n"
	if path == "/others" {
		user = ""
	}
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: shop\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, user, len(body), body)
}

func chunked(path string, chunks ...string) string {
	head, _, _ := strings.Cut(post(path, ""), "Content-Length")
	var b strings.Builder
	b.WriteString(head + "Transfer-Encoding: chunked\r\n\r\n")
	for _, c := range chunks {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c), c)
	}
	return b.String() + "0\r\n\r\n"
}

func with(fields string) string {
	return strings.Replace(mine, "\r\n\r\n", "\r\n"+fields+"\r\n\r\n", 1)
}

// sifted is what a sieve makes of a client's bytes.
type sifted struct {
	// Kept are the requests that were let through.
	Kept []string
	Why  wire.Unread
	Torn bool
}

// kept are the requests of HTTP/1 that were let through.
type kept struct {
	nobody
	requests [][]byte
}

func (k *kept) Keep(_ uint32, p []byte, begins bool) {
	if begins {
		k.requests = append(k.requests, nil)
	}
	k.requests[len(k.requests)-1] = append(k.requests[len(k.requests)-1], p...)
}

// nobody takes nothing.
type nobody struct{}

func (nobody) Keep(uint32, []byte, bool) {}
func (nobody) End(uint32, error)         {}

func sift(t testing.TB, text string, pieces []string) sifted {
	t.Helper()
	f, err := filter.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := New(f.Matcher(), func(r filter.Request) bool { return r.Target == "/healthz" })
	var got sifted
	var kept kept
	for _, piece := range pieces {
		// What a sieve keeps of the bytes must be its own.
		b := []byte(piece)
		err = s.Take(b, &kept)
		clear(b)
		if held := s.Held(); held > 4*http1.MaxHead+2*filter.MaxBody {
			t.Fatalf("%d bytes are held", held)
		}
	}
	if end := s.End(&kept); end != nil {
		err = end
	}
	if unread, ok := errors.AsType[*UnreadError](err); ok {
		got.Why, got.Torn = unread.Why, unread.Torn
	}
	for _, request := range kept.requests {
		got.Kept = append(got.Kept, string(request))
	}
	if s.Held() != 0 {
		t.Errorf("%d bytes are held at the end", s.Held())
	}
	return got
}

const (
	byHeader = `{"header": {"x-user": "alice"}}`
	byBody   = `{"json": {"user": "alice"}}`
)

func TestTakeLetsWantedRequestsThrough(t *testing.T) {
	long := strings.Repeat("x", 3*filter.MaxBody)
	alice, bob := `{"user": "alice"}`, `{"user": "bob"}`
	padded := fmt.Sprintf(`{"user": "alice", "pad": %q}`, long)
	ws := with("Connection: Upgrade\r\nUpgrade: websocket")
	h2c := with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
	bare := "GET /lf HTTP/1.1\nHost: shop\nX-User: alice\n\n"
	cut := strings.TrimSuffix(post("/a", "abc"), "c")
	torn := strings.Replace(chunked("/torn", "abc"), "0\r\n\r\n", "zz\r\n\r\n", 1)
	for name, test := range map[string]struct {
		filter, text string
		want         sifted
	}{
		"nothing":               {byHeader, "", sifted{}},
		"one":                   {byHeader, mine, sifted{Kept: []string{mine}}},
		"none":                  {byHeader, others + others, sifted{}},
		"pipelined":             {byHeader, others + mine + others + mine, sifted{Kept: []string{mine, mine}}},
		"probes":                {byHeader, probe + mine + probe, sifted{Kept: []string{mine}}},
		"body":                  {byHeader, post("/others", mine) + post("/a", others) + mine, sifted{Kept: []string{post("/a", others), mine}}},
		"long body":             {byHeader, post("/others", long) + post("/a", long) + mine, sifted{Kept: []string{post("/a", long), mine}}},
		"chunked":               {byHeader, chunked("/others", mine, "b") + chunked("/a", others, "b") + mine, sifted{Kept: []string{chunked("/a", others, "b"), mine}}},
		"empty line between":    {byHeader, post("/others", "a") + "\r\n" + mine + "\r\n", sifted{Kept: []string{mine}}},
		"closes":                {byHeader, with("Connection: close") + mine, sifted{Kept: []string{with("Connection: close")}}},
		"HTTP/1.0":              {byHeader, strings.Replace(mine, "1.1", "1.0", 1) + mine, sifted{Kept: []string{strings.Replace(mine, "1.1", "1.0", 1)}}},
		"ends in a body":        {byHeader, mine + cut, sifted{Kept: []string{mine, cut}}},
		"ends in a head":        {byHeader, mine + mine[:20], sifted{Kept: []string{mine}, Why: wire.UnreadOdd}},
		"JSON":                  {byBody, post("/a", bob) + post("/b", alice) + others + mine, sifted{Kept: []string{post("/b", alice)}}},
		"JSON, chunked":         {byBody, chunked("/a", bob) + chunked("/b", alice[:5], alice[5:]) + mine, sifted{Kept: []string{chunked("/b", alice[:5], alice[5:])}}},
		"JSON, too long":        {byBody, post("/a", padded) + post("/b", alice), sifted{Kept: []string{post("/b", alice)}}},
		"JSON, chunked, long":   {byBody, chunked("/a", padded[:9], padded[9:]) + post("/b", alice), sifted{Kept: []string{post("/b", alice)}}},
		"JSON, cut off":         {byBody, post("/b", alice)[:len(post("/b", alice))-1], sifted{}},
		"JSON, broken chunk":    {byBody, mine + torn + post("/b", alice), sifted{Why: wire.UnreadOdd}},
		"JSON, none of it":      {byBody, post("/a", "") + post("/b", alice), sifted{Kept: []string{post("/b", alice)}}},
		"TLS":                   {byHeader, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + mine, sifted{Why: wire.UnreadTLS}},
		"no TLS":                {byHeader, "\x16\x16\x03" + mine, sifted{Why: wire.UnreadOther}},
		"HTTP/2":                {byHeader, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + mine, sifted{Why: wire.UnreadHTTP2}},
		"nearly HTTP/2":         {byHeader, "PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n" + mine, sifted{Why: wire.UnreadHTTP2}},
		"the beginning of both": {byHeader, "PRI", sifted{Why: wire.UnreadOdd}},
		"no HTTP":               {byHeader, "\x00\x00\x00\x10" + mine, sifted{Why: wire.UnreadOther}},
		"a line":                {byHeader, "hello\n" + mine, sifted{Why: wire.UnreadOther}},
		"odd":                   {byHeader, mine + bare + mine, sifted{Kept: []string{mine}, Why: wire.UnreadOdd}},
		"odd length":            {byHeader, mine + with("Content-Length: 1\r\nContent-Length: 2") + mine, sifted{Kept: []string{mine}, Why: wire.UnreadOdd}},
		"broken chunk":          {byHeader, torn + mine, sifted{Kept: []string{torn[:strings.Index(torn, "zz")]}, Why: wire.UnreadOdd, Torn: true}},
		"another's broken":      {byHeader, strings.Replace(torn, "alice", "bob", 1) + mine, sifted{Why: wire.UnreadOdd}},
		"long head":             {byHeader, mine + with("X-Long: "+long) + mine, sifted{Kept: []string{mine}, Why: wire.UnreadLong}},
		"TLS behind a request":  {byHeader, mine + "\x16\x03\x01", sifted{Kept: []string{mine}, Why: wire.UnreadOther}},
		"WebSocket":             {byHeader, ws + "\x41\x85abcdefghi" + mine, sifted{Kept: []string{ws}, Why: wire.UnreadUpgrade}},
		"WebSocket, refused":    {byHeader, ws + others + mine, sifted{Kept: []string{ws, mine}}},
		"WebSocket, of another": {byHeader, strings.Replace(ws, "alice", "bob", 1) + "\x81\x80aaaa", sifted{Why: wire.UnreadUpgrade}},
		"h2c":                   {byHeader, h2c + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", sifted{Kept: []string{h2c}, Why: wire.UnreadHTTP2}},
		"h2c, refused":          {byHeader, h2c + mine, sifted{Kept: []string{h2c, mine}}},
		"another protocol":      {byHeader, with("Connection: Upgrade\r\nUpgrade: x") + mine, sifted{Kept: []string{with("Connection: Upgrade\r\nUpgrade: x")}, Why: wire.UnreadUpgrade}},
		"protocol, silent":      {byHeader, with("Connection: Upgrade\r\nUpgrade: x"), sifted{Kept: []string{with("Connection: Upgrade\r\nUpgrade: x")}}},
		"CONNECT":               {byHeader, "CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n" + mine, sifted{Why: wire.UnreadUpgrade}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, sift(t, test.filter, []string{test.text})); diff != "" {
				t.Errorf("at once: %s", diff)
			}
			if diff := cmp.Diff(test.want, sift(t, test.filter, strings.Split(test.text, ""))); diff != "" {
				t.Errorf("byte by byte: %s", diff)
			}
			for at := range min(len(test.text), 1<<18/(1+len(test.text))) {
				if diff := cmp.Diff(test.want, sift(t, test.filter, []string{test.text[:at], test.text[at:]})); diff != "" {
					t.Fatalf("split at %d: %s", at, diff)
				}
			}
		})
	}
}

// Whatever the pieces, what is let through is exactly what the filter matches.
func TestTakeIsTheSameHoweverBytesCome(t *testing.T) {
	kinds := []string{mine, others, probe, post("/a", "{}"), post("/others", `{"user": "alice"}`), chunked("/a", "a", "bc"), chunked("/others", mine)}
	rapid.Check(t, func(rt *rapid.T) {
		var text strings.Builder
		var want []string
		for _, r := range rapid.SliceOfN(rapid.SampledFrom(kinds), 0, 8).Draw(rt, "requests") {
			text.WriteString(r)
			if head, _, _ := strings.Cut(r, "\r\n\r\n"); strings.Contains(head, "alice") && r != probe {
				want = append(want, r)
			}
		}
		var pieces []string
		for rest := text.String(); rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "piece")
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if diff := cmp.Diff(sifted{Kept: want}, sift(t, byHeader, pieces)); diff != "" {
			rt.Error(diff)
		}
	})
}

func FuzzTake(f *testing.F) {
	for _, seed := range []string{mine, chunked("/a", "b"), post("/a", `{"user": "alice"}`) + others} {
		f.Add(seed, 7)
	}
	f.Fuzz(func(t *testing.T, text string, at int) {
		at = min(max(at, 0), len(text))
		for _, only := range []string{byHeader, byBody} {
			whole, split := sift(t, only, []string{text}), sift(t, only, []string{text[:at], text[at:]})
			if diff := cmp.Diff(whole, split); diff != "" {
				t.Error(diff)
			}
			for _, kept := range whole.Kept {
				if !strings.Contains(text, kept) {
					t.Errorf("%q was not sent", kept)
				}
			}
		}
	})
}

func BenchmarkTake(b *testing.B) {
	var parsed filter.Filter
	if err := json.Unmarshal([]byte(byHeader), &parsed); err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string]string{"heads": strings.Repeat(others, 10), "body": post("/others", strings.Repeat("x", 1<<20))} {
		b.Run(name, func(b *testing.B) {
			s := New(parsed.Matcher(), func(filter.Request) bool { return false })
			p := []byte(text)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Take(p, nobody{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
