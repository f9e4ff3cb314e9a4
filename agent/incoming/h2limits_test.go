//go:build linux

package incoming

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/h2"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// FuzzFrames : whatever the bytes and however they come, frames end, and have all content there is.
func FuzzFrames(f *testing.F) {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	_ = fr.WriteSettings()
	_ = fr.WriteDataPadded(1, true, make([]byte, 70_000), make([]byte, 200))
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: []byte{0x82}, EndHeaders: false, PadLength: 3})
	_ = fr.WriteContinuation(3, true, []byte{0x84})
	f.Add(b.Bytes(), uint64(1))
	f.Fuzz(func(t *testing.T, p []byte, seed uint64) {
		r := &frames{}
		r.src = &dribble{p, rand.New(rand.NewPCG(seed, 0))}
		defer r.free()
		blocks := newBlocks()
		taken := 0
		for {
			fr, ok, err := r.next()
			if err != nil {
				return
			}
			if !ok {
				if r.more() != nil {
					break
				}
				continue
			}
			content, size, good := fr.data()
			if fr.kind == http2.FrameData && good && len(content) > size {
				t.Fatalf("%d bytes that take %d", len(content), size)
			}
			if taken += len(fr.payload); taken > len(p) {
				t.Fatal("more than there is")
			}
			whole := false
			switch fragment, good := fr.fragment(); {
			case fr.kind == http2.FrameHeaders && good:
				whole = blocks.begin(fr, fragment)
			case fr.kind == http2.FrameContinuation:
				whole, _ = blocks.goOn(fr)
			}
			if whole {
				if fields, err := blocks.read(); err == nil {
					sieve.ReadHead(fields)
				}
			}
		}
	})
}

// dribble gives bytes in pieces of any size.
type dribble struct {
	rest []byte
	rand *rand.Rand
}

func (d *dribble) Read(p []byte) (int, error) {
	if len(d.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:1+d.rand.IntN(len(p))], d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// TestStalledUploadHarmsNobodyElse : a debuggee that takes nothing, of a target that grants much.
func TestStalledUploadHarmsNobodyElse(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(takeH2(func(st *mux.Stream, _ *h2.Reader, _ *h2.Writer) { <-t.Context().Done() }))
	f.stealRequests(t, "X-User: alice")
	c, target := pair(t, client, echoTarget, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 26})
	target.say(func() { _ = target.WriteWindowUpdate(0, 1<<28) })
	c.request(1, false, "POST", "/stalls", "x-user=alice")
	go c.content(1, 24<<20, false)
	c.hears("1 reset ENHANCE_YOUR_CALM")
	c.request(3, true, "GET", "/target")
	c.hears("3 headers :status=200 who=target end")
	_ = c.conn.Close()
	_ = target.conn.Close()
	f.freed(t)
}

// TestMixedConnectionIsEndedForWhatNobodyCanRead : the target would not know of it, since its header blocks are others.
func TestMixedConnectionIsEndedForWhatNobodyCanRead(t *testing.T) {
	for name, breaks := range map[string]func(*rawH2){
		"COMPRESSION_ERROR": func(c *rawH2) {
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		},
		"PROTOCOL_ERROR": func(c *rawH2) { _ = c.WriteContinuation(5, true, nil) },
		"ENHANCE_YOUR_CALM": func(c *rawH2) {
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 5})
			for range 20 {
				_ = c.WriteContinuation(5, false, make([]byte, 16<<10))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := testpod.NewClient(t)
			f := startFarEnd(t, Options{})
			f.on(takeH2(func(st *mux.Stream, in *h2.Reader, w *h2.Writer) {
				_, _ = in.Next()
				beginH2(st, w, true)
				_ = st.CloseWrite()
				_, _ = in.Next()
				_ = st.Close()
			}))
			f.stealRequests(t, "X-User: alice")
			c, _ := pair(t, client, echoTarget)
			c.request(1, true, "GET", "/", "x-user=alice")
			c.hears("1 headers :status=200")
			c.request(3, true, "GET", "/")
			c.hears("3 headers :status=200")
			c.say(func() { breaks(c) })
			c.hears("0 goaway 3 " + name)
			_ = c.conn.Close()
			f.freed(t)
		})
	}
}

// TestResetFloodIsBounded : a client that asks and gives up at once, many times.
func TestResetFloodIsBounded(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) { _, _ = io.Copy(io.Discard, st); refuse(st) })
	f.stealRequests(t, "X-User: alice")
	c, _ := pair(t, client, echoTarget)
	for i := range uint32(5000) {
		c.request(2*i+1, true, "GET", "/", "x-user=alice")
		c.say(func() { _ = c.WriteRSTStream(2*i+1, http2.ErrCodeCancel) })
	}
	c.request(10_001, true, "GET", "/target")
	c.hears("10001 headers :status=200 who=target end")
	_ = c.conn.Close()
	f.freed(t)
}

// TestLongHeadsAreTheTargets : what cannot be kept for the target is not offered.
func TestLongHeadsAreTheTargets(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) { t.Errorf("offered: %+v", st.Header); refuse(st) })
	var told unreads
	f.opts.Unread = told.add
	f.stealRequests(t, "X-User: alice")
	c, target := pair(t, client, echoTarget)
	c.request(1, true, "GET", "/", "x-user=alice", "long="+strings.Repeat("{", wire.MaxFirst))
	target.hears("1 headers :method=GET")
	c.hears("1 headers :status=200 who=target end")
	_ = c.conn.Close()
	f.freed(t)
}
