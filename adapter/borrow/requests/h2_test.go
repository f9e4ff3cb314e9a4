package requests

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/wire"
)

func section(pairs ...string) (fields []hpack.HeaderField) {
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return fields
}

// written lets a message be written to a recording.
type written func([]byte)

func (w written) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// came2 records a request of HTTP/2 and its answer: content and, if it is not nil, a trailer.
func came2(t *testing.T, l *Log, head []hpack.HeaderField, body string, answer []hpack.HeaderField, content string, trailer []hpack.HeaderField) {
	t.Helper()
	r := l.Begin(wire.Header{Port: 80, Protocol: wire.HTTP2})
	in, out := h2.NewWriter(written(r.Request)), h2.NewWriter(written(r.Response))
	err := errors.Join(in.Head(head, body == ""), out.Head(answer, false), out.Data([]byte(content), trailer == nil))
	if body != "" {
		err = errors.Join(err, in.Data([]byte(body), true))
	}
	if trailer != nil {
		err = errors.Join(err, out.Head(trailer, true))
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Went(Debuggee, "")
	r.End(nil)
}

func post2(more ...string) []hpack.HeaderField {
	return append(section(":method", "POST", ":scheme", "http", ":path", "/cart?token=s3cret&a=1", ":authority", "shop:80"), section(more...)...)
}

func TestRequestsOfHTTP2AreShown(t *testing.T) {
	l := New(Options{})
	came2(t, l, post2("authorization", "Bearer abc", "content-type", "text/plain"), "hello",
		section(":status", "200", "content-type", "text/plain"), "yes", section("sum", "7"))
	e, ok := l.Entry(1, Masked)
	if !ok || e.Protocol != "HTTP/2" || e.Method != "POST" || e.Path != "/cart" || e.Query != "token=****&a=1" || e.Status != 200 || e.GRPC != "" {
		t.Fatalf("%+v", e)
	}
	if got := e.URL(); got != "http://shop:80/cart?token=****&a=1" {
		t.Error(got)
	}
	text, _ := e.Export(AsText)
	for _, want := range []string{
		"\nPOST /cart?token=****&a=1 HTTP/2\nhost: shop:80\nauthorization: Bearer ****\ncontent-type: text/plain\n\nhello\n",
		"\nHTTP/2 200 OK\ncontent-type: text/plain\n\nyes\n\n# behind the body\nsum: 7\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	curl := e.Curl()
	if want := "curl 'http://shop:80/cart?token=****&a=1' --http2-prior-knowledge -H 'authorization: Bearer ****' -H 'content-type: text/plain'"; !strings.HasPrefix(curl, want) {
		t.Error(curl)
	}
	har := NewHAR([]Entry{e}).Log.Entries[0]
	if har.Request.HTTPVersion != "HTTP/2" || har.Response.HTTPVersion != "HTTP/2" || har.Response.StatusText != "OK" || len(har.Response.Trailers) != 1 {
		t.Errorf("%+v", har)
	}
}

func TestGRPCIsShownWithItsStatus(t *testing.T) {
	l := New(Options{Body: 8})
	head := section(":method", "POST", ":scheme", "http", ":path", "/shop.Cart/Get", ":authority", "shop", "content-type", "application/grpc", "te", "trailers")
	ok := section(":status", "200", "content-type", "application/grpc")
	came2(t, l, head, "\x00\x00\x00\x00\x02ab", ok, "\x00\x00\x00\x00\x40"+strings.Repeat("x", 64), section("grpc-status", "5", "grpc-message", "no such cart"))
	came2(t, l, head, "\x00\x00\x00\x00\x02ab", section(":status", "200", "content-type", "application/grpc", "grpc-status", "14"), "", nil)
	list := l.List(0, 0)
	if list[0].GRPC != "NOT_FOUND" || list[0].Path != "/shop.Cart/Get" || list[1].GRPC != "UNAVAILABLE" {
		t.Errorf("%+v", list)
	}
	e, _ := l.Entry(1, Plain)
	want := Body{Size: 69, Cut: true, Binary: []byte("\x00\x00\x00\x00\x40xxx")}
	if d := cmp.Diff(want, e.Response.Body); d != "" || len(e.Response.Trailers) != 2 {
		t.Errorf("%s %v", d, e.Response.Trailers)
	}
	if l.size > 4<<10 {
		t.Errorf("%d bytes are kept", l.size)
	}
}

func TestARequestOfHTTP2IsReplayed(t *testing.T) {
	var sent []byte
	l := New(Options{Replay: func(_ context.Context, _ uint16, raw []byte, rec *Recording) error {
		if rec.Protocol() != wire.HTTP2 {
			t.Errorf("protocol %q", rec.Protocol())
		}
		sent = raw
		return h2.NewWriter(written(rec.Response)).Head(section(":status", "204"), true)
	}})
	came2(t, l, post2("authorization", "Bearer abc", "content-length", "5"), "hello", section(":status", "200"), "", nil)
	masked, _ := l.Entry(1, Masked)
	for edited, want := range map[string]struct {
		head []hpack.HeaderField
		body string
	}{
		"":            {post2("authorization", "Bearer abc", "content-length", "5"), "hello"},
		masked.HTTP(): {post2("authorization", "Bearer abc", "content-length", "5"), "hello"},
		strings.Replace(masked.HTTP(), "\nhello\n", "\nbye\n", 1): {post2("authorization", "Bearer abc", "content-length", "3"), "bye"},
		"PUT /x\nHost: y\nA: b\n":                                 {section(":method", "PUT", ":scheme", "http", ":path", "/x", ":authority", "y", "a", "b"), ""},
	} {
		r, err := l.Replay(1, edited)
		if err == nil {
			err = r.Run(t.Context())
		}
		if err != nil {
			t.Errorf("%q: %v", edited, err)
			continue
		}
		m, _ := readMessage2(sent)
		if d := cmp.Diff(want.head, m.head); d != "" || string(m.content) != want.body {
			t.Errorf("%q: %s %q", edited, d, m.content)
		}
		if e, _ := l.Entry(r.ID, Masked); e.Status != 204 || e.ReplayOf != 1 || e.Protocol != "HTTP/2" {
			t.Errorf("%q: %+v", edited, e.Summary)
		}
	}
	if _, err := l.Replay(1, "GET / HTTP/1.1\n"); err == nil {
		t.Error("it was replayed in another version")
	}
	short := New(Options{Body: 2, Replay: func(context.Context, uint16, []byte, *Recording) error { return nil }})
	came2(t, short, post2(), "hello", section(":status", "200"), "", nil)
	if _, err := short.Replay(1, ""); !errors.Is(err, ErrNotWhole) {
		t.Errorf("half a request: %v", err)
	}
}

func TestFramesWithoutEndAreBounded(t *testing.T) {
	l := New(Options{Bytes: 4 << 10})
	r := l.Begin(wire.Header{Protocol: wire.HTTP2})
	in := h2.NewWriter(written(r.Request))
	err := in.Head(post2(), false)
	for range 1000 {
		err = errors.Join(err, in.Data([]byte("x"), false), in.Data(nil, false), in.Head(section("a", strings.Repeat("{", 100)), false))
	}
	if err != nil {
		t.Fatal(err)
	}
	if l.size > 8<<10 {
		t.Errorf("%d bytes are kept", l.size)
	}
	e, _ := l.Entry(1, Masked)
	if e.Method != "POST" || !bytes.Equal(e.Request.Body.Bytes(), bytes.Repeat([]byte("x"), len(e.Request.Body.Bytes()))) || !e.Request.Body.Cut || e.Request.Body.Size != 1000 {
		t.Errorf("%+v", e.Request.Body)
	}
	if !slices.ContainsFunc(e.Request.Fields, isHost) {
		t.Errorf("%v", e.Request.Fields)
	}
}
