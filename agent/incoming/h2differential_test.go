//go:build linux

package incoming

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/h2"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// h2said is one end's part of a stream.
type h2said struct {
	Interim, Fields []string
	// Sizes are those of the content's frames, Padding what each is padded with.
	Sizes   []int
	Padding int
	Trailer []string
	// Reset is a code that ends the part instead of END_STREAM, negative for none.
	Reset int
}

// h2dialogue is what both ends of a connection say on some streams.
type h2dialogue struct {
	Client, Server []h2said
	// Mine says of which streams a debuggee has; the server's part of those is said by that.
	Mine []bool
	// ClientWindow and ServerWindow are what either end lets the other send.
	ClientWindow, ServerWindow uint32
}

// h2end is an end of a connection that keeps to the windows of the other.
type h2end struct {
	*rawH2
	flow *h2.Flow

	mu      sync.Mutex
	credits map[uint32]*h2.Credit
	got     map[uint32]*strings.Builder
	sums    map[uint32]int
	ended   map[uint32]bool
	changed chan struct{}
	// answer is called with the number of a stream of which the head came.
	answer func(id uint32, number int)
}

func newH2end(t testing.TB, conn net.Conn, client bool, window uint32, answer func(*h2end, uint32, int)) *h2end {
	e := &h2end{
		flow: h2.NewFlow(), credits: map[uint32]*h2.Credit{}, got: map[uint32]*strings.Builder{}, sums: map[uint32]int{},
		ended: map[uint32]bool{}, changed: make(chan struct{}, 1),
	}
	e.answer = func(id uint32, number int) { answer(e, id, number) }
	ready := make(chan struct{})
	e.rawH2 = startH2(t, conn, client, func(r *rawH2, f http2.Frame) { <-ready; e.take(f) },
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	close(ready)
	return e
}

func (e *h2end) credit(id uint32) *h2.Credit {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.credits[id] == nil {
		e.credits[id], e.got[id] = e.flow.Stream(), &strings.Builder{}
	}
	return e.credits[id]
}

func (e *h2end) take(f http2.Frame) {
	id := f.Header().StreamID
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if v, ok := f.Value(http2.SettingInitialWindowSize); ok && !f.IsAck() {
			_ = e.flow.SetInitial(v)
		}
	case *http2.WindowUpdateFrame:
		if id == 0 {
			_ = e.flow.Grant(f.Increment)
		} else {
			_ = e.credit(id).Grant(f.Increment)
		}
	case *http2.MetaHeadersFrame:
		_ = e.credit(id)
		text, path := "", ""
		for _, h := range f.Fields {
			text += fmt.Sprintf("%s=%s %v\n", h.Name, h.Value, h.Sensitive)
			if h.Name == ":path" {
				path = h.Value
			}
		}
		e.add(id, text, f.StreamEnded())
		if number, err := strconv.Atoi(strings.TrimPrefix(path, "/")); err == nil && e.answer != nil {
			e.answer(id, number)
		}
	case *http2.DataFrame:
		e.mu.Lock()
		e.sums[id] += len(f.Data())
		for _, b := range f.Data() {
			if b != f.Data()[0] {
				e.sums[id] = -1 << 40
			}
		}
		e.mu.Unlock()
		e.add(id, "", f.StreamEnded())
		if n := f.Length; n > 0 {
			e.say(func() { _ = e.WriteWindowUpdate(0, n); _ = e.WriteWindowUpdate(id, n) })
		}
	case *http2.RSTStreamFrame:
		e.add(id, "reset "+f.ErrCode.String(), true)
		e.credit(id).Close()
	case *http2.GoAwayFrame:
		e.add(0, fmt.Sprintf("goaway %v", f.ErrCode), true)
	}
}

func (e *h2end) add(id uint32, text string, end bool) {
	_ = e.credit(id)
	e.mu.Lock()
	e.got[id].WriteString(text)
	e.ended[id] = e.ended[id] || end
	e.mu.Unlock()
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// speak says a part on a stream. pattern makes content of its own.
func (e *h2end) speak(ctx context.Context, id uint32, s h2said) {
	if s.Interim != nil {
		e.headers(id, false, s.Interim...)
	}
	e.headers(id, s.isBare(), s.Fields...)
	e.rest(ctx, id, s)
}

func (s h2said) isBare() bool { return len(s.Sizes) == 0 && s.Trailer == nil && s.Reset < 0 }

// rest says what comes behind a head.
func (e *h2end) rest(ctx context.Context, id uint32, s h2said) {
	credit := e.credit(id)
	for i, size := range s.Sizes {
		last := i == len(s.Sizes)-1 && s.Trailer == nil && s.Reset < 0
		for first := true; first || size > 0; first = false {
			n := 0
			if size > 0 {
				var err error
				if n, err = credit.Take(ctx, size); err != nil {
					return
				}
			}
			size -= n
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(id)
			}
			pad := s.Padding
			if pad > 0 && credit.TryTake(pad+1) < pad+1 {
				pad = 0 // what was taken is lost, which no window has too little for
			}
			e.say(func() {
				if pad > 0 {
					_ = e.WriteDataPadded(id, last && size == 0, p, make([]byte, pad))
				} else {
					_ = e.WriteData(id, last && size == 0, p)
				}
			})
		}
	}
	switch {
	case s.Reset >= 0:
		e.say(func() { _ = e.WriteRSTStream(id, http2.ErrCode(s.Reset)) })
	case s.Trailer != nil:
		e.headers(id, true, s.Trailer...)
	}
}

// said waits until so many streams have ended, and returns what was heard on each in order.
func (e *h2end) said(ctx context.Context, ids []uint32) (all []string) {
	for _, id := range ids {
		for {
			e.mu.Lock()
			ended, text, sum := e.ended[id], "", e.sums[id]
			if e.got[id] != nil {
				text = e.got[id].String()
			}
			e.mu.Unlock()
			if ended {
				all = append(all, fmt.Sprintf("%s%d bytes", text, sum))
				break
			}
			select {
			case <-e.changed:
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return append(all, fmt.Sprintf("%s%d bytes, and waits", text, sum))
			}
		}
	}
	return all
}

// hold holds a dialogue by way of a port, and returns what either end heard on each stream that is not a debuggee's, and what the client
// heard on those.
func (d h2dialogue) hold(t testing.TB, c *course, port string, debuggees bool) (atClient, atServer, mine []string) {
	ctx, cancel := context.WithTimeout(context.Background(), dialoguePatience)
	defer cancel()
	conn, err := c.client.Dial(testpod.Pod4 + ":" + port)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var talking sync.WaitGroup
	defer talking.Wait()
	var mu sync.Mutex
	atServerIDs := map[int]uint32{}
	servers := make(chan *h2end, 1)
	go func() {
		conn := <-c.conns[port]
		servers <- newH2end(t, conn, false, d.ServerWindow, func(e *h2end, id uint32, number int) {
			mu.Lock()
			atServerIDs[number] = id
			mu.Unlock()
			talking.Go(func() { e.speak(ctx, id, d.Server[number]) })
		})
	}()
	client := newH2end(t, conn, true, d.ClientWindow, nil)
	var theirs, own []uint32
	for i, s := range d.Client {
		if d.Mine[i] && !debuggees {
			continue
		}
		id := uint32(2*i + 1)
		if d.Mine[i] {
			own = append(own, id)
		} else {
			theirs = append(theirs, id)
		}
		// Streams are begun in the order of their ids.
		_ = client.credit(id)
		client.headers(id, s.isBare(), s.Fields...)
		talking.Go(func() { client.rest(ctx, id, s) })
	}
	server := <-servers
	atClient = client.said(ctx, theirs)
	mine = client.said(ctx, own)
	var ids []uint32
	for i := range d.Client {
		mu.Lock()
		id, ok := atServerIDs[i]
		mu.Unlock()
		if ok && !d.Mine[i] {
			ids = append(ids, id)
		}
	}
	atServer = server.said(ctx, ids)
	for i := range atServer {
		atServer[i] = fmt.Sprintf("%d of %d: %s", i, len(ids), atServer[i])
	}
	cancel()
	_ = server.conn.Close()
	return atClient, atServer, mine
}

func anySaid(rt *rapid.T, request bool, number int) h2said {
	s := h2said{Reset: -1}
	if request {
		s.Fields = []string{":method=" + rapid.SampledFrom([]string{"GET", "POST", "PUT"}).Draw(rt, "method"), ":scheme=http", ":path=/" + itoa(number), ":authority=shop"}
	} else {
		if rapid.Bool().Draw(rt, "interim") {
			s.Interim = []string{":status=103", "link=a"}
		}
		s.Fields = []string{":status=" + rapid.SampledFrom([]string{"200", "404", "500"}).Draw(rt, "status")}
	}
	field := rapid.SampledFrom([]string{"a=1", "a=2", "b=", "cookie=x=1", "cookie=y=2", "long=" + strings.Repeat("{", 9000), "te=trailers", "grpc-timeout=1S"})
	s.Fields = append(s.Fields, rapid.SliceOfN(field, 0, 6).Draw(rt, "fields")...)
	s.Sizes = rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 100, 9000, 16384, 70000}), 0, 4).Draw(rt, "sizes")
	s.Padding = rapid.SampledFrom([]int{0, 0, 7, 255}).Draw(rt, "padding")
	if rapid.Bool().Draw(rt, "trailer") {
		s.Trailer = rapid.SliceOfN(rapid.SampledFrom([]string{"grpc-status=0", "x=y"}), 1, 3).Draw(rt, "fields of the trailer")
	}
	return s
}

// TestPassedStreamsAreAsThoseOfADirectConnection : field by field, and byte by byte, whether a debuggee has some of the connection's streams
// or none.
func TestPassedStreamsAreAsThoseOfADirectConnection(t *testing.T) {
	c := newCourse(t)
	f := startFarEnd(t, Options{})
	f.stealRequests(t, "X-User: alice")
	rapid.Check(t, func(rt *rapid.T) {
		windows := rapid.SampledFrom([]uint32{1, 100, 20_000, 65_535, 1 << 20})
		d := h2dialogue{ClientWindow: windows.Draw(rt, "client's window"), ServerWindow: windows.Draw(rt, "server's window")}
		some := rapid.Bool().Draw(rt, "some are a debuggee's")
		n := rapid.IntRange(1, 10).Draw(rt, "streams")
		for i := range n {
			request, response := anySaid(rt, true, i), anySaid(rt, false, i)
			mine := some && rapid.Bool().Draw(rt, "mine")
			if mine {
				request.Fields = append(request.Fields, "x-user=alice")
			}
			if least := min(d.ClientWindow, d.ServerWindow); least < 1000 {
				request.Sizes, response.Sizes = few(request.Sizes, least), few(response.Sizes, least)
				request.Padding, response.Padding = 0, 0
			}
			d.Client, d.Server, d.Mine = append(d.Client, request), append(d.Server, response), append(d.Mine, mine)
		}
		f.on(takeH2(func(st *mux.Stream, in *h2.Reader, w *h2.Writer) { playDebuggee(st, in, w, d.Server) }))
		wantClient, wantServer, _ := d.hold(t, c, "81", false)
		gotClient, gotServer, mine := d.hold(t, c, "80", true)
		if diff := cmp.Diff(wantClient, gotClient); diff != "" {
			rt.Errorf("at the client: %s\nof %+v", diff, d)
		}
		if diff := cmp.Diff(wantServer, gotServer); diff != "" {
			rt.Errorf("at the target: %s\nof %+v", diff, d)
		}
		var want []string
		for i, s := range d.Server {
			if d.Mine[i] {
				want = append(want, s.text())
			}
		}
		if diff := cmp.Diff(want, mine); diff != "" {
			rt.Errorf("of debuggees: %s\nof %+v", diff, d)
		}
	})
	f.freed(t)
}

// few keeps content small where windows are.
func few(sizes []int, window uint32) []int {
	return slices.DeleteFunc(slices.Clone(sizes), func(n int) bool { return n > 100*int(window) })
}

// text is how an end notes what is said.
func (s h2said) text() (text string) {
	for _, section := range [][]string{s.Interim, s.Fields, s.Trailer} {
		for _, f := range section {
			text += f + " false\n"
		}
	}
	sum := 0
	for _, n := range s.Sizes {
		sum += n
	}
	return fmt.Sprintf("%s%d bytes", text, sum)
}

// playDebuggee says the response of a request by its number, whole when the request is.
func playDebuggee(st *mux.Stream, in *h2.Reader, w *h2.Writer, responses []h2said) {
	number := -1
	for {
		fr, err := in.Next()
		if err != nil {
			st.Reset()
			return
		}
		for _, f := range fr.Fields {
			if f.Name == ":path" {
				number, _ = strconv.Atoi(f.Value[1:])
			}
		}
		if fr.End {
			break
		}
	}
	s := responses[number]
	_ = wire.WriteFrame(st, wire.Outcome{}, nil)
	section := func(fields []string, end bool) {
		var p []string
		for _, f := range fields {
			name, value, _ := strings.Cut(f[1:], "=")
			p = append(p, f[:1]+name, value)
		}
		_ = w.Head(h2.Fields(p...), end)
	}
	if s.Interim != nil {
		section(s.Interim, false)
	}
	section(s.Fields, len(s.Sizes) == 0 && s.Trailer == nil)
	for i, n := range s.Sizes {
		_ = w.Data(make([]byte, n), i == len(s.Sizes)-1 && s.Trailer == nil)
	}
	if s.Trailer != nil {
		section(s.Trailer, true)
	}
	_ = st.CloseWrite()
	_, _ = io.Copy(io.Discard, st)
	_ = st.Close()
}
