package sieve

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/h2"
	"podstep.dev/internal/wire"
)

func TestTakeTellsStreamsApart(t *testing.T) {
	long := strings.Repeat("x", filter.MaxBody-len(`{"user": "alice", "p": ""}`))
	alice, full := `{"user": "alice"}`, fmt.Sprintf(`{"user": "alice", "p": %q}`, long)
	whole := func(id uint32, path string) copied2 {
		return copied2{ID: id, Fields: "POST " + path + " alice", Over: "whole"}
	}
	for name, test := range map[string]struct {
		filter string
		send   func(c *client2)
		want   sifted2
	}{
		"nothing": {byHeader, func(*client2) {}, sifted2{}},
		"others":  {byHeader, func(c *client2) { c.ask(1, true, "/a"); c.ask(3, true, "/b", "x-user", "bob") }, sifted2{}},
		"one between others": {byHeader, func(c *client2) {
			c.ask(1, true, "/a")
			c.ask(3, true, "/b", "x-user", "alice")
			c.ask(5, true, "/c", "x-user", "bob")
			c.ask(7, true, "/d", "x-user", "alice")
		}, sifted2{Kept: []copied2{whole(3, "/b"), whole(7, "/d")}}},
		"probe": {byHeader, func(c *client2) { c.ask(1, true, "/healthz", "x-user", "alice") }, sifted2{}},
		"content, mixed": {byHeader, func(c *client2) {
			c.ask(1, false, "/a", "x-user", "alice")
			c.ask(3, false, "/b", "x-user", "bob")
			_ = c.WriteData(1, false, []byte("ab"))
			_ = c.WriteData(3, false, []byte("no"))
			_ = c.WriteDataPadded(1, false, []byte("cd"), make([]byte, 9))
			_ = c.WritePing(false, [8]byte{})
			_ = c.WriteWindowUpdate(1, 9)
			_ = c.WriteData(3, true, nil)
			_ = c.WriteDataPadded(1, true, nil, make([]byte, 3))
		}, sifted2{Kept: []copied2{{1, "POST /a alice", "abcd", "", "whole"}}}},
		"trailer, priority, padding, continuations": {byHeader, func(c *client2) {
			block := c.encode(request2("/a", "x-user", "alice", "te", "trailers"))
			_ = c.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1, BlockFragment: block[:3], PadLength: 200, Priority: http2.PriorityParam{StreamDep: 5, Weight: 3},
			})
			_ = c.WriteContinuation(1, false, nil)
			_ = c.WriteContinuation(1, true, block[3:])
			_ = c.WritePriority(1, http2.PriorityParam{StreamDep: 3})
			_ = c.WriteData(1, false, []byte("abc"))
			c.head(1, true, 1, h2.Fields("x-sum", "3"))
			c.ask(3, false, "/others")
			c.head(3, true, 100, h2.Fields("x-sum", "4"))
		}, sifted2{Kept: []copied2{{1, "POST /a alice trailers", "abc", "3", "whole"}}}},
		"cancelled": {byHeader, func(c *client2) {
			c.ask(1, false, "/a", "x-user", "alice")
			c.ask(3, true, "/b", "x-user", "alice")
			c.ask(5, true, "/c", "x-user", "bob")
			_ = c.WriteRSTStream(1, http2.ErrCodeCancel)
			_ = c.WriteRSTStream(3, http2.ErrCodeEnhanceYourCalm)
			_ = c.WriteRSTStream(5, http2.ErrCodeCancel)
			_ = c.WriteData(1, true, []byte("late"))
		}, sifted2{Kept: []copied2{{1, "POST /a alice", "", "", "; CANCEL"}, {3, "POST /b alice", "", "", "whole; ENHANCE_YOUR_CALM"}}}},
		"ends in a request": {byHeader, func(c *client2) {
			c.ask(1, false, "/a", "x-user", "alice")
			_ = c.WriteData(1, false, []byte("abc"))
		}, sifted2{Kept: []copied2{{1, "POST /a alice", "abc", "", ""}}}},
		"JSON": {byBody, func(c *client2) {
			for id, body := range []string{`{"user": "bob"}`, alice, `{"user": "al`, full, full + " "} {
				c.ask(uint32(2*id+1), false, "/a", "content-type", "application/json")
				_ = c.WriteData(uint32(2*id+1), false, []byte(body[:3]))
			}
			for id, body := range []string{`{"user": "bob"}`, alice, `{"user": "al`, full, full + " "} {
				for rest := body[3:]; rest != ""; rest = rest[min(len(rest), 16<<10):] {
					_ = c.WriteData(uint32(2*id+1), len(rest) <= 16<<10, []byte(rest[:min(len(rest), 16<<10)]))
				}
			}
			c.ask(11, true, "/a", "content-type", "application/json")
			c.ask(13, false, "/t", "content-type", "application/json")
			_ = c.WriteData(13, false, []byte(alice))
			c.head(13, true, 99, h2.Fields("x-sum", "3"))
			c.ask(15, false, "/cut", "content-type", "application/json")
			_ = c.WriteData(15, false, []byte(alice))
			c.ask(17, false, "/gone", "content-type", "application/json")
			_ = c.WriteData(17, false, []byte(alice))
			_ = c.WriteRSTStream(17, http2.ErrCodeCancel)
			_ = c.WriteData(17, true, nil)
		}, sifted2{Kept: []copied2{
			{3, "POST /a application/json", alice, "", "whole"}, {7, "POST /a application/json", full, "", "whole"}, {13, "POST /t application/json", alice, "3", "whole"},
		}}},
		"gRPC": {`{"grpc": {"service": "shop.Cart"}}`, func(c *client2) {
			c.ask(1, false, "/shop.Cart/Get", "content-type", "application/grpc", "x-bin", "\x00\x01\xff")
			_ = c.WriteData(1, true, []byte("\x00\x00\x00\x00\x01a"))
			c.ask(3, true, "/shop.Stock/Get", "content-type", "application/grpc")
			c.ask(5, true, "/shop.Cart/Get", "content-type", "text/plain")
		}, sifted2{Kept: []copied2{{1, "POST /shop.Cart/Get application/grpc Af8", "\x00\x00\x00\x00\x01a", "", "whole"}}}},
		"extended CONNECT": {byHeader, func(c *client2) {
			c.head(1, false, 99, h2.Fields(":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/ws", ":authority", "shop", "x-user", "alice"))
			_ = c.WriteData(1, true, []byte("frames"))
		}, sifted2{Kept: []copied2{{1, "CONNECT websocket /ws alice", "frames", "", "whole"}}}},
		"malformed": {byHeader, func(c *client2) {
			c.head(1, true, 99, h2.Fields(":method", "GET", ":path", "/a", "x-user", "alice"))
			c.ask(3, true, "/a", "X-User", "alice")
			c.ask(5, true, "/a", "x-user", "alice", "connection", "close")
			c.ask(7, false, "/a", "x-user", "alice")
			c.head(7, false, 99, h2.Fields("x-sum", "3"))
			c.ask(9, true, "/b", "x-user", "alice")
			c.ask(11, false, "/a", "x-user", "alice")
			c.head(11, true, 99, h2.Fields(":path", "/"))
		}, sifted2{Kept: []copied2{{7, "POST /a alice", "", "", "; PROTOCOL_ERROR"}, whole(9, "/b"), {11, "POST /a alice", "", "", "; PROTOCOL_ERROR"}}}},
		"larger tables": {byHeader, func(c *client2) {
			c.codec.SetMaxDynamicTableSizeLimit(1 << 20)
			c.codec.SetMaxDynamicTableSize(h2.MaxTable)
			for id := uint32(1); id < 200; id += 2 {
				c.ask(id, true, "/a", "x-pad", fmt.Sprint(strings.Repeat("p", 400), id%50))
			}
			c.ask(201, true, "/b", "x-user", "alice")
		}, sifted2{Kept: []copied2{whole(201, "/b")}}},
		"no table at all": {byHeader, func(c *client2) {
			c.codec.SetMaxDynamicTableSize(0)
			c.ask(1, true, "/b", "x-user", "alice")
		}, sifted2{Kept: []copied2{whole(1, "/b")}}},
		"a table beyond reason": {byHeader, func(c *client2) {
			c.ask(1, true, "/b", "x-user", "alice")
			c.codec.SetMaxDynamicTableSizeLimit(1 << 20)
			c.codec.SetMaxDynamicTableSize(h2.MaxTable + 1)
			c.ask(3, true, "/b", "x-user", "alice")
		}, sifted2{Kept: []copied2{whole(1, "/b")}, Why: wire.UnreadHTTP2}},
		"broken fields": {byHeader, func(c *client2) {
			c.ask(1, false, "/b", "x-user", "alice")
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: []byte{0xff, 0xff, 0xff}, EndHeaders: true})
			c.ask(5, true, "/b", "x-user", "alice")
		}, sifted2{Kept: []copied2{{1, "POST /b alice", "", "", ""}}, Why: wire.UnreadHTTP2, Torn: true}},
		"an even stream":  {byHeader, func(c *client2) { c.ask(2, true, "/b", "x-user", "alice") }, sifted2{Why: wire.UnreadHTTP2}},
		"no stream":       {byHeader, func(c *client2) { c.ask(0, true, "/b", "x-user", "alice") }, sifted2{Why: wire.UnreadHTTP2}},
		"a stream again":  {byHeader, func(c *client2) { c.ask(3, true, "/b"); c.ask(1, true, "/b", "x-user", "alice") }, sifted2{}},
		"a push":          {byHeader, func(c *client2) { _ = c.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2}) }, sifted2{Why: wire.UnreadHTTP2}},
		"content of none": {byHeader, func(c *client2) { _ = c.WriteData(0, true, []byte("abc")) }, sifted2{Why: wire.UnreadHTTP2}},
		"a short reset":   {byHeader, func(c *client2) { _ = c.WriteRawFrame(http2.FrameRSTStream, 0, 1, []byte{1}) }, sifted2{Why: wire.UnreadHTTP2}},
		"too much padding": {byHeader, func(c *client2) {
			_ = c.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{3, 0, 0})
		}, sifted2{Why: wire.UnreadHTTP2}},
		"padding of nothing": {byHeader, func(c *client2) { _ = c.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, nil) }, sifted2{Why: wire.UnreadHTTP2}},
		"a frame in a block": {byHeader, func(c *client2) {
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			_ = c.WritePing(false, [8]byte{})
		}, sifted2{Why: wire.UnreadHTTP2}},
		"no block": {byHeader, func(c *client2) { _ = c.WriteContinuation(1, true, []byte{0x82}) }, sifted2{Why: wire.UnreadHTTP2}},
		"no settings": {byHeader, func(c *client2) {
			c.Truncate(len(http2.ClientPreface))
			c.ask(1, true, "/a", "x-user", "alice")
		}, sifted2{Why: wire.UnreadHTTP2}},
		"a long head": {byHeader, func(c *client2) {
			c.ask(1, true, "/a", "x-user", "alice")
			c.ask(3, true, "/a", "x-user", "alice", "x-long", strings.Repeat("\xff", h2.MaxBlock))
		}, sifted2{Kept: []copied2{whole(1, "/a")}, Why: wire.UnreadLong}},
		"unknown frames, a goodbye": {byHeader, func(c *client2) {
			_ = c.WriteRawFrame(0xbb, 0xff, 9, []byte("greased"))
			_ = c.WriteRawFrame(0xbb, 0, 0, nil)
			_ = c.WriteGoAway(0, http2.ErrCodeNo, []byte("bye"))
			c.ask(1, true, "/a", "x-user", "alice")
		}, sifted2{Kept: []copied2{whole(1, "/a")}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient2()
			test.send(c)
			sent := c.Bytes()
			if diff := cmp.Diff(test.want, sift2(t, test.filter, [][]byte{sent})); diff != "" {
				t.Errorf("at once: %s", diff)
			}
			if len(sent) > 64<<10 {
				return
			}
			single := make([][]byte, len(sent))
			for i := range sent {
				single[i] = sent[i : i+1]
			}
			if diff := cmp.Diff(test.want, sift2(t, test.filter, single)); diff != "" {
				t.Errorf("byte by byte: %s", diff)
			}
			for at := range min(len(sent), 1<<18/(1+len(sent))) {
				if diff := cmp.Diff(test.want, sift2(t, test.filter, [][]byte{sent[:at], sent[at:]})); diff != "" {
					t.Fatalf("split at %d: %s", at, diff)
				}
			}
		})
	}
}

// Whatever the pieces and however streams are mixed, what is let through is exactly what the filter matches.
func TestStreamsAreTheSameHoweverBytesCome(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newClient2()
		var want []copied2
		open := map[uint32]*copied2{}
		var ids []uint32
		last := uint32(1)
		for range rapid.IntRange(0, 40).Draw(rt, "steps") {
			if len(ids) == 0 || rapid.Bool().Draw(rt, "begins") {
				user := rapid.SampledFrom([]string{"alice", "bob"}).Draw(rt, "user")
				end := rapid.Bool().Draw(rt, "end")
				c.head(last, end, rapid.IntRange(1, 40).Draw(rt, "fragment"), request2(fmt.Sprint("/", last%7), "x-user", user))
				r := &copied2{ID: last, Fields: fmt.Sprint("POST /", last%7, " ", user)}
				if user == "alice" {
					open[last] = r
				}
				if end {
					r.Over = "whole"
				} else {
					ids = append(ids, last)
				}
				last += 2
				continue
			}
			at := rapid.IntRange(0, len(ids)-1).Draw(rt, "stream")
			id, r := ids[at], open[ids[at]]
			if r == nil {
				r = &copied2{}
			}
			over := rapid.SampledFrom([]string{"", "", "", "whole", "trailer", "reset"}).Draw(rt, "how")
			switch over {
			case "trailer":
				c.head(id, true, 7, h2.Fields("x-sum", "1"))
				r.Trailer, r.Over = "1", "whole"
			case "reset":
				_ = c.WriteRSTStream(id, http2.ErrCodeCancel)
				r.Over = "; CANCEL"
			default:
				p := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "data")
				_ = c.WriteDataPadded(id, over == "whole", p, make([]byte, rapid.IntRange(0, 20).Draw(rt, "pad")))
				r.Body, r.Over = r.Body+string(p), over
			}
			if over != "" {
				ids = append(ids[:at], ids[at+1:]...)
			}
		}
		for id := uint32(1); id < last; id += 2 {
			if open[id] != nil {
				want = append(want, *open[id])
			}
		}
		var pieces [][]byte
		for rest := c.Bytes(); len(rest) > 0; {
			n := rapid.IntRange(1, min(len(rest), 400)).Draw(rt, "piece")
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if diff := cmp.Diff(sifted2{Kept: want}, sift2(t, byHeader, pieces)); diff != "" {
			rt.Error(diff)
		}
	})
}

// TestStreamsThatNeverEndAreBounded : a server that gives uploads up says so to the client alone.
func TestStreamsThatNeverEndAreBounded(t *testing.T) {
	for name, text := range map[string]string{"let through": byHeader, "undecided": byBody} {
		f, err := filter.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		s := New(f.Matcher(), func(filter.Request) bool { return false })
		k := &kept2{bytes: map[uint32]*bytes.Buffer{}, over: map[uint32]string{}}
		var most int
		for id, last := uint32(1), uint32(2*maxUnfinished+21); id <= last; id += 2 {
			c := newClient2()
			if id > 1 {
				c.Reset()
			}
			c.codec.SetMaxDynamicTableSize(0)
			c.ask(id, false, "/a", "x-user", "alice", "content-type", "application/json")
			_ = c.WriteData(id, false, []byte(`{"user": `))
			if err := s.Take(c.Bytes(), k); err != nil {
				t.Fatal(err)
			}
			most = max(most, s.Held())
		}
		t.Logf("%s: at most %d bytes held", name, most)
		if most > 64<<10 {
			t.Errorf("%s: %d bytes held", name, most)
		}
		if name == "undecided" {
			if len(k.order) != 0 || len(s.streams.undecided) != maxUndecided {
				t.Errorf("%d let through, %d undecided", len(k.order), len(s.streams.undecided))
			}
			continue
		}
		if len(k.order) != maxUnfinished+11 || len(s.streams.unfinished) != maxUnfinished || k.over[21] != errStale.Error() || k.over[23] != "" {
			t.Errorf("%d let through, %d unfinished, the last that is given up ended %q", len(k.order), len(s.streams.unfinished), k.over[21])
		}
	}
}

// FuzzStreams : whatever comes, it is read in the same way however it is split, and what is let through are messages.
func FuzzStreams(f *testing.F) {
	c := newClient2()
	c.ask(1, false, "/a", "x-user", "alice")
	c.head(3, true, 5, request2("/b", "x-user", "alice"))
	_ = c.WriteDataPadded(1, false, []byte(`{"user": "alice"}`), make([]byte, 5))
	_ = c.WriteRSTStream(3, http2.ErrCodeCancel)
	c.head(1, true, 100, h2.Fields("x-sum", "1"))
	f.Add(c.Bytes()[len(http2.ClientPreface):], 30)
	f.Add([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), 3)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		b = append([]byte(http2.ClientPreface), b...)
		at = min(max(at, 0), len(b))
		for _, only := range []string{byHeader, byBody, `{"not": {"method": "PUT"}}`} {
			whole, split := sift2(t, only, [][]byte{b}), sift2(t, only, [][]byte{b[:at], b[at:]})
			if diff := cmp.Diff(whole, split); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func BenchmarkStreams(b *testing.B) {
	f, err := filter.Parse([]byte(byHeader))
	if err != nil {
		b.Fatal(err)
	}
	for name, user := range map[string]string{"others": "bob", "wanted": "alice"} {
		b.Run(name, func(b *testing.B) {
			s := New(f.Matcher(), func(filter.Request) bool { return false })
			c := newClient2()
			id := uint32(1)
			b.ReportAllocs()
			for b.Loop() {
				c.ask(id, false, "/a", "x-user", user, "content-type", "application/grpc")
				_ = c.WriteData(id, true, make([]byte, 1<<10))
				id += 2
				if err := s.Take(c.Bytes(), nobody{}); err != nil {
					b.Fatal(err)
				}
				c.Reset()
			}
		})
	}
}
