//go:build linux

package incoming

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/agent/internal/testpod"
)

// rawH2 is one end of a connection that says what a test wants it to, and notes what it hears.
type rawH2 struct {
	t    testing.TB
	conn net.Conn
	*http2.Framer

	mu    sync.Mutex
	block bytes.Buffer
	enc   *hpack.Encoder
	heard []string
	data  map[uint32]int
	over  bool
}

// startH2 begins to hear. A client has sent its preface then, with settings.
func startH2(t testing.TB, conn net.Conn, client bool, each func(*rawH2, http2.Frame), settings ...http2.Setting) *rawH2 {
	t.Helper()
	if client {
		_, _ = conn.Write([]byte(http2.ClientPreface))
	} else {
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := conn.Read(preface); err != nil || string(preface) != http2.ClientPreface {
			t.Errorf("preface %q, %v", preface, err)
		}
	}
	_ = http2.NewFramer(conn, nil).WriteSettings(settings...)
	return hearH2(t, conn, each)
}

// hearH2 begins to hear frames.
func hearH2(t testing.TB, conn net.Conn, each func(*rawH2, http2.Frame)) *rawH2 {
	r := &rawH2{t: t, conn: conn, Framer: http2.NewFramer(conn, conn), data: map[uint32]int{}}
	r.enc = hpack.NewEncoder(&r.block)
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.AllowIllegalWrites = true
	listening := make(chan struct{})
	go func() { defer close(listening); r.listen(each) }()
	t.Cleanup(func() { _ = conn.Close(); <-listening })
	return r
}

func (r *rawH2) listen(each func(*rawH2, http2.Frame)) {
	for {
		f, err := r.ReadFrame()
		if err == nil {
			r.note(f)
			if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
				r.say(func() { _ = r.WriteSettingsAck() })
			}
			if each != nil {
				each(r, f)
			}
			continue
		}
		r.mu.Lock()
		r.heard = append(r.heard, "end")
		r.over = true
		r.mu.Unlock()
		return
	}
}

// say writes frames, one who says it at a time.
func (r *rawH2) say(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *rawH2) note(f http2.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, text := f.Header().StreamID, ""
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		text = "headers"
		for _, h := range f.Fields {
			text += " " + h.Name + "=" + h.Value
		}
	case *http2.DataFrame:
		r.data[id] += len(f.Data())
		if !f.StreamEnded() {
			return
		}
		text = fmt.Sprintf("data %d", r.data[id])
	case *http2.RSTStreamFrame:
		text = "reset " + f.ErrCode.String()
	case *http2.GoAwayFrame:
		text = fmt.Sprintf("goaway %d %v", f.LastStreamID, f.ErrCode)
	case *http2.WindowUpdateFrame:
		r.data[1<<31|id] += int(f.Increment)
		return
	case *http2.PingFrame:
		text = "ping " + string(bytes.TrimRight(f.Data[:], "\x00"))
	default:
		return
	}
	if f.Header().Type <= http2.FrameHeaders && f.Header().Flags.Has(http2.FlagDataEndStream) {
		text += " end"
	}
	r.heard = append(r.heard, fmt.Sprintf("%d %s", id, text))
}

// headers sends a header section of "name=value".
func (r *rawH2) headers(id uint32, end bool, fields ...string) {
	r.say(func() {
		r.block.Reset()
		for _, f := range fields {
			at := strings.Index(f[1:], "=") + 1
			_ = r.enc.WriteField(hpack.HeaderField{Name: f[:at], Value: f[at+1:]})
		}
		_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.block.Bytes(), EndHeaders: true, EndStream: end})
	})
}

func (r *rawH2) request(id uint32, end bool, method, path string, more ...string) {
	r.headers(id, end, append([]string{":method=" + method, ":scheme=http", ":authority=shop", ":path=" + path}, more...)...)
}

func (r *rawH2) content(id uint32, n int, end bool) {
	r.say(func() {
		for ; n > 16<<10; n -= 16 << 10 {
			_ = r.WriteData(id, false, make([]byte, 16<<10))
		}
		_ = r.WriteData(id, end, make([]byte, n))
	})
}

// hears waits until something was heard that begins so.
func (r *rawH2) hears(want string) {
	r.t.Helper()
	late := time.Now().Add(10 * time.Second)
	for time.Now().Before(late) {
		r.mu.Lock()
		heard := r.heard
		r.mu.Unlock()
		for _, h := range heard {
			if strings.HasPrefix(h, want) {
				return
			}
		}
		<-time.After(2 * time.Millisecond)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.Fatalf("heard %.2000q, want %q", r.heard, want)
}

// hasNot fails if something was heard that begins so.
func (r *rawH2) hasNot(not string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.heard {
		if strings.HasPrefix(h, not) {
			r.t.Errorf("heard %q in %.2000q", h, r.heard)
		}
	}
}

// pair makes a client, and a target at port 80 that is a rawH2 too.
func pair(t *testing.T, client *testpod.Client, each func(*rawH2, http2.Frame), settings ...http2.Setting) (c, target *rawH2) {
	t.Helper()
	l, err := net.Listen("tcp", testpod.Pod4+":80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	came := make(chan *rawH2, 1)
	go func() {
		if conn, err := l.Accept(); err == nil {
			came <- startH2(t, conn, false, each, settings...)
		}
	}()
	conn, err := client.Dial(testpod.Pod4 + ":80")
	if err != nil {
		t.Fatal(err)
	}
	c = startH2(t, conn, true, nil)
	select {
	case target = <-came:
	case <-time.After(10 * time.Second):
		t.Fatal("the target was not connected to")
	}
	return c, target
}
