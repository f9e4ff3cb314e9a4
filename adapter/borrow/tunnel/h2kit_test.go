package tunnel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// servedH2 is a debuggee of net/http that speaks HTTP/2 with prior knowledge, and nothing else.
// most, if given, is how many streams of a connection it takes at once.
func servedH2(t testing.TB, h http.HandlerFunc, most ...int) *debuggee {
	t.Helper()
	l := listen(t)
	d := &debuggee{addr: l.Addr().String()}
	s := &http.Server{Handler: h, Protocols: new(http.Protocols), ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			d.conns.Add(1)
		}
	}}
	s.Protocols.SetUnencryptedHTTP2(true)
	// A request that is not read leaves the others some of the connection's window.
	s.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 256 << 10}
	if len(most) > 0 {
		s.HTTP2.MaxConcurrentStreams = most[0]
	}
	d.stop = func() { _ = s.Close() }
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return d
}

// h2request is the head of a request with further fields.
func h2request(method, path string, more ...string) []hpack.HeaderField {
	return append(h2.Fields(":method", method, ":scheme", "http", ":path", path, ":authority", "web"), h2.Fields(more...)...)
}

// openH2 asks for a request of HTTP/2 of a client's connection; more may follow what is sent.
func (a *agentEnd) openH2(connection uint64, head []hpack.HeaderField, data []byte, end bool) (*mux.Stream, error) {
	first, err := h2.Begin(head, data, end)
	if err != nil {
		a.Fatal(err)
	}
	stream, err := a.Open(a.Context(), wire.Header{
		Kind: wire.KindRequest, Port: 80, From: from, To: to, Subscription: 1,
		Connection: connection, Request: a.last.Add(1), Protocol: wire.HTTP2,
	}, first)
	if err == nil && end {
		err = stream.CloseWrite()
	}
	return stream, err
}

// begin is a message's beginning.
func begin(t testing.TB, head []hpack.HeaderField) []byte {
	t.Helper()
	b, err := h2.Begin(head, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// h2outcome is what became of a request of HTTP/2.
type h2outcome struct {
	Refused error
	Failed  *wire.Failure
	// Heads are the header sections of the response.
	Heads [][]hpack.HeaderField
	Body  []byte
	Err   error
}

func (o h2outcome) String() string {
	return fmt.Sprintf("refused=%v failed=%+v heads=%v body of %d bytes %.80q err=%v", o.Refused, o.Failed, o.Heads, len(o.Body), o.Body, o.Err)
}

// value is the last section's field of that name in which there is one.
func (o h2outcome) value(name string) (value string) {
	for _, head := range o.Heads {
		if v := h2.Value(head, name); v != "" {
			value = v
		}
	}
	return value
}

// hearH2 reads what comes back to the end.
func hearH2(stream *mux.Stream) (o h2outcome) {
	var first wire.Outcome
	if o.Err = wire.ReadFrame(stream, &first); o.Err != nil || first.Failed != nil {
		o.Failed = first.Failed
		return o
	}
	for r := h2.NewReader(stream); ; {
		f, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return o
		case err != nil:
			o.Err = err
			return o
		case f.Fields != nil:
			o.Heads = append(o.Heads, append([]hpack.HeaderField{}, f.Fields...))
		default:
			o.Body = append(o.Body, f.Data...)
		}
	}
}

// askH2 sends a whole request and waits for what becomes of it.
func (a *agentEnd) askH2(connection uint64, head []hpack.HeaderField, body []byte) h2outcome {
	n := min(len(body), 32<<10)
	stream, err := a.openH2(connection, head, body[:n], n == len(body))
	if err != nil {
		return h2outcome{Refused: err}
	}
	sent := make(chan error, 1)
	go func() {
		var err error
		if n < len(body) {
			err = errors.Join(h2.NewWriter(stream).Data(body[n:], true), stream.CloseWrite())
		}
		sent <- err
	}()
	o := hearH2(stream)
	if err := <-sent; err != nil && o.Err == nil && o.Failed == nil {
		o.Err = fmt.Errorf("send: %w", err)
	}
	_ = stream.Close()
	return o
}

// answered fails the test unless o is a response with that status and body.
func (o h2outcome) answered(t testing.TB, status, body string) {
	t.Helper()
	if o.Refused != nil || o.Failed != nil || o.Err != nil || o.value(":status") != status || string(o.Body) != body {
		t.Errorf("got %v, want %s with %d bytes %.80q", o, status, len(body), body)
	}
}

// h2peer is a connection of a debuggee that does with each frame what it likes.
type h2peer struct {
	*http2.Framer
	conn  *net.TCPConn
	block bytes.Buffer
	codec *hpack.Encoder
}

// rawH2 is a debuggee that says its settings on each connection and then calls serve.
func rawH2(t *testing.T, serve func(p *h2peer), settings ...http2.Setting) *debuggee {
	t.Helper()
	return raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
		if _, err := io.ReadFull(in, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		p := &h2peer{Framer: http2.NewFramer(conn, in), conn: conn}
		p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		p.codec = hpack.NewEncoder(&p.block)
		_ = p.WriteSettings(settings...)
		serve(p)
	})
}

// next is the next frame that is about a stream, other than a window's; nil at the connection's end.
func (p *h2peer) next() http2.Frame {
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return nil
		}
		if _, window := f.(*http2.WindowUpdateFrame); f.Header().StreamID != 0 && !window {
			return f
		}
	}
}

// request reads a request to its end, and returns its head; nil at the connection's end.
func (p *h2peer) request() (head *http2.MetaHeadersFrame) {
	for {
		switch f := p.next().(type) {
		case nil:
			return nil
		case *http2.MetaHeadersFrame:
			if head = f; f.StreamEnded() {
				return head
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return head
			}
		}
	}
}

// say sends a header section.
func (p *h2peer) say(id uint32, end bool, pairs ...string) {
	p.block.Reset()
	for _, f := range h2.Fields(pairs...) {
		_ = p.codec.WriteField(f)
	}
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block.Bytes(), EndHeaders: true, EndStream: end})
}
