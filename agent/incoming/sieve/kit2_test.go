package sieve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/h2"
	"podstep.dev/internal/wire"
)

// client2 writes what a client of HTTP/2 sends.
type client2 struct {
	bytes.Buffer
	*http2.Framer
	block bytes.Buffer
	codec *hpack.Encoder
}

func newClient2() *client2 {
	c := &client2{}
	c.Framer = http2.NewFramer(c, nil)
	c.AllowIllegalWrites = true
	c.codec = hpack.NewEncoder(&c.block)
	c.WriteString(http2.ClientPreface)
	_ = c.WriteSettings()
	return c
}

// encode is a header block.
func (c *client2) encode(fields []hpack.HeaderField) []byte {
	c.block.Reset()
	for _, f := range fields {
		_ = c.codec.WriteField(f)
	}
	return bytes.Clone(c.block.Bytes())
}

// head sends a header section, in frames of at most so many bytes.
func (c *client2) head(id uint32, end bool, most int, fields []hpack.HeaderField) {
	block := c.encode(fields)
	n := min(most, len(block))
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:n], EndHeaders: n == len(block), EndStream: end})
	for block = block[n:]; len(block) > 0; block = block[n:] {
		n = min(most, len(block))
		_ = c.WriteContinuation(id, n == len(block), block[:n])
	}
}

func (c *client2) ask(id uint32, end bool, fields ...string) {
	c.head(id, end, 16<<10, request2(fields...))
}

// request2 is a head: path, then further fields.
func request2(fields ...string) []hpack.HeaderField {
	method := "POST"
	if len(fields) == 1 {
		method = "GET"
	}
	return append(h2.Fields(":method", method, ":scheme", "http", ":path", fields[0], ":authority", "shop"), h2.Fields(fields[1:]...)...)
}

// copied2 is a request that was let through.
type copied2 struct {
	ID      uint32
	Fields  string
	Body    string
	Trailer string
	// Over is how it ended: "whole", "reset CODE", "whole, reset CODE", or why it was lost; empty when it is under way.
	Over string
}

// kept2 takes requests of HTTP/2.
type kept2 struct {
	order   []uint32
	bytes   map[uint32]*bytes.Buffer
	over    map[uint32]string
	strange []string
}

func (k *kept2) Keep(id uint32, p []byte, begins bool) {
	if begins {
		if k.bytes[id] != nil || id == 0 {
			k.strange = append(k.strange, fmt.Sprint(id, " begins again"))
		}
		k.order = append(k.order, id)
		k.bytes[id] = &bytes.Buffer{}
	}
	if b := k.bytes[id]; b != nil {
		b.Write(p)
	}
}

func (k *kept2) End(id uint32, err error) {
	switch {
	case k.bytes[id] == nil:
	case err == nil && k.over[id] == "":
		k.over[id] = "whole"
	case errors.Is(err, context.Canceled):
		k.over[id] += "; gone"
	case err != nil && k.over[id] == "":
		k.over[id] = err.Error()
	default:
		k.strange = append(k.strange, fmt.Sprint(id, " ends again"))
	}
}

// list reads what was let through.
func (k *kept2) list(t testing.TB) (all []copied2) {
	t.Helper()
	if len(k.strange) > 0 {
		t.Errorf("%q", k.strange)
	}
	for _, id := range k.order {
		c := copied2{ID: id, Over: k.over[id]}
		for in := h2.NewReader(bytes.NewReader(k.bytes[id].Bytes())); ; {
			f, err := in.Next()
			var reset *h2.ResetError
			switch {
			case errors.As(err, &reset):
				c.Over = strings.Replace(c.Over, "gone", reset.Code.String(), 1)
				continue
			case errors.Is(err, io.EOF):
			case err != nil:
				t.Errorf("copy %d: %v", id, err)
			case f.Fields != nil && c.Fields == "":
				c.Fields = words(f.Fields)
				continue
			case f.Fields != nil:
				c.Trailer = words(f.Fields)
				continue
			default:
				c.Body += string(f.Data)
				continue
			}
			break
		}
		all = append(all, c)
	}
	return all
}

func words(fields []hpack.HeaderField) string {
	var b strings.Builder
	for _, f := range fields {
		if f.Name != ":scheme" && f.Name != ":authority" {
			b.WriteString(" " + f.Value)
		}
	}
	return strings.TrimSpace(b.String())
}

// sifted2 is what a sieve makes of the bytes of a client of HTTP/2.
type sifted2 struct {
	Kept []copied2
	Why  wire.Unread
	Torn bool
}

func sift2(t testing.TB, text string, pieces [][]byte) (got sifted2) {
	t.Helper()
	f, err := filter.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := New(f.Matcher(), func(r filter.Request) bool { return r.Target == "/healthz" })
	k := &kept2{bytes: map[uint32]*bytes.Buffer{}, over: map[uint32]string{}}
	for _, piece := range pieces {
		b := bytes.Clone(piece)
		err = s.Take(b, k)
		clear(b)
		if held := s.Held(); held > 16<<20 {
			t.Fatalf("%d bytes are held", held)
		}
	}
	if end := s.End(k); end != nil {
		err = end
	}
	if unread, ok := errors.AsType[*UnreadError](err); ok {
		got.Why, got.Torn = unread.Why, unread.Torn
	}
	if s.Held() != 0 {
		t.Errorf("%d bytes are held at the end", s.Held())
	}
	got.Kept = k.list(t)
	return got
}
