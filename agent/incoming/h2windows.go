//go:build linux

package incoming

import (
	"slices"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/h2"
)

// maxBacklog is how many bytes may wait for a window of one end before nothing more is read of the other.
const maxBacklog = 128 << 10

// way is one direction of a connection between a client and its target.
//
// The windows of such a connection are those of its two ends, who keep them between each other: whatever one may send, the other takes. What
// the agent sends in somebody else's place (a debuggee's response, or a request that was given back for which the client has its
// credit already) is not known to the sender of this direction. It is the direction's debt: as much of what the receiver grants next is
// not passed on. So the sender may have more under way than the receiver has granted, but never more than the debt. That waits here.
//
// It is guarded by the interposer's mu.
type way struct {
	in      *frames
	out     *h2.Sender
	blocks  *blocks
	windows *h2.Flow
	debt    int64
	// run are frames that are passed on as they came.
	run []byte
	// waiting are the streams that have something that waits, and backlog is how many bytes that is.
	waiting []*backlog
	backlog int
	// toTarget says which way it is. drainedOf is told of a stream on which nothing waits any more.
	toTarget  bool
	drainedOf func(*h2stream)
}

func newWay(in *frames, out *h2.Sender) *way {
	return &way{in: in, out: out, blocks: newBlocks(), windows: h2.NewFlow()}
}

// pass passes bytes on as they came. Put is called before anything else is sent, and before more is read.
func (w *way) pass(p []byte) {
	if len(p) == 0 {
		return
	}
	if n := len(w.run); n > 0 && cap(w.run) >= n+len(p) && &w.run[:n+1][n] == &p[0] {
		w.run = w.run[:n+len(p)]
		return
	}
	w.put()
	w.run = p
}

func (w *way) put() {
	if len(w.run) > 0 {
		w.out.Bytes(w.run)
		w.run = nil
	}
}

// backlog is what waits to be sent on one stream.
type backlog struct {
	stream *h2stream
	id     uint32
	// window is the stream's, where the agent has to keep it; nil where the two ends do.
	window *h2.Credit
	items  []item
}

// item is content, or a header section, or the stream's reset.
type item struct {
	data   []byte
	fields []hpack.HeaderField
	reset  bool
	code   http2.ErrCode
	end    bool
}

// data sends content on a stream, which took size bytes of its sender's windows; raw is the whole frame if it can be passed on as it came.
// What may not be sent waits; it is copied then. It returns how much of the windows is the sender's again, because padding was left off.
func (w *way) data(b *backlog, p []byte, size int, end bool, raw []byte) (refund int) {
	n := size
	if raw == nil {
		n = len(p)
	}
	if len(b.items) > 0 || b.window != nil || w.debt > 0 && !w.windows.TryTake(n) {
		w.push(b, item{data: slices.Clone(p), end: end})
		return size - len(p)
	}
	if w.debt == 0 {
		w.windows.Spend(n)
	}
	if raw != nil {
		w.pass(raw)
	} else {
		w.put()
		w.out.Data(b.id, p, end)
	}
	return size - n
}

// passData passes content of a stream on that is not known.
func (w *way) passData(f *frame, p []byte, size int) {
	w.windows.Spend(size)
	if f.raw != nil {
		w.pass(f.raw)
		return
	}
	w.put()
	w.out.Data(f.stream, p, f.ends())
}

// headers sends a header section behind what waits.
func (w *way) headers(b *backlog, fields []hpack.HeaderField, end bool) {
	if len(b.items) > 0 {
		w.push(b, item{fields: slices.Clone(fields), end: end})
		return
	}
	w.put()
	w.out.Headers(b.id, fields, end)
}

// reset resets a stream behind what waits.
func (w *way) reset(b *backlog, code http2.ErrCode) {
	if len(b.items) > 0 {
		w.push(b, item{reset: true, code: code})
		return
	}
	w.put()
	w.out.Frame(func(f *http2.Framer) error { return f.WriteRSTStream(b.id, code) })
}

func (w *way) push(b *backlog, i item) {
	if len(b.items) == 0 {
		w.waiting = append(w.waiting, b)
	}
	b.items = append(b.items, i)
	w.backlog += len(i.data)
	w.drain()
}

// granted takes in what the receiver grants for the connection, and returns how much of it the sender is told of.
func (w *way) granted(n uint32) uint32 {
	if w.windows.Grant(n) != nil {
		return n // for the sender to judge
	}
	paid := min(int64(n), w.debt)
	w.debt -= paid
	w.drain()
	return n - uint32(paid)
}

// drain sends what waits as far as the windows go.
func (w *way) drain() {
	w.waiting = slices.DeleteFunc(w.waiting, w.drained)
}

// drained sends what waits of one stream, and says whether that is all.
func (w *way) drained(b *backlog) bool {
	for len(b.items) > 0 {
		i := &b.items[0]
		w.put()
		switch {
		case i.reset:
			w.out.Frame(func(f *http2.Framer) error { return f.WriteRSTStream(b.id, i.code) })
		case i.fields != nil:
			w.out.Headers(b.id, i.fields, i.end)
		default:
			var n int
			if b.window != nil {
				n = b.window.TryTake(len(i.data))
			} else {
				n = w.windows.TakeSome(len(i.data))
			}
			w.backlog -= n
			if n < len(i.data) {
				if n > 0 {
					w.out.Data(b.id, i.data[:n], false)
					i.data = i.data[n:]
				}
				return false
			}
			w.out.Data(b.id, i.data, i.end)
		}
		b.items = b.items[1:]
	}
	b.items = nil
	w.drainedOf(b.stream)
	return true
}

// forget drops what waits of a stream.
func (w *way) forget(b *backlog) {
	if len(b.items) == 0 {
		return
	}
	for _, i := range b.items {
		w.backlog -= len(i.data)
	}
	b.items = nil
	w.waiting = slices.DeleteFunc(w.waiting, func(o *backlog) bool { return o == b })
}
