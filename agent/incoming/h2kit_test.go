//go:build linux

package incoming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/h2"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// says answers with what a server saw of a request.
func says(who string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		w.Header().Set("Trailer", "X-Length")
		_, _ = fmt.Fprintf(w, "%s: %s %s %s %d %v from %s", who, r.Proto, r.Method, r.URL, len(body), err, host)
		if strings.HasPrefix(r.URL.Path, "/big") {
			_, _ = io.WriteString(w, strings.Repeat("b", 10<<20))
		}
		w.Header().Set("X-Length", fmt.Sprintf("%d %s", len(body), r.Trailer.Get("X-Sum")))
	}
}

// serveH2 plays a server of HTTP/2 without TLS, and of nothing else.
func serveH2(t testing.TB, addr string, handler http.HandlerFunc) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	// Frames as other servers want them: one of the 1 MiB that Go takes has no room on its way to a server that reads no more.
	server := &http.Server{Handler: handler, Protocols: &http.Protocols{}, HTTP2: &http.HTTP2Config{MaxReadFrameSize: 16 << 10}}
	server.Protocols.SetUnencryptedHTTP2(true)
	var served sync.WaitGroup
	server.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			served.Add(1)
		case http.StateClosed, http.StateHijacked:
			served.Done()
		}
	}
	served.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() { _ = server.Close(); served.Wait() })
}

// h2Client is a client of HTTP/2 with prior knowledge, with one connection.
func h2Client(t testing.TB, client *testpod.Client, port string) *http.Client {
	t.Helper()
	tr := &http.Transport{
		Protocols:   &http.Protocols{},
		DialContext: func(context.Context, string, string) (net.Conn, error) { return client.Dial(testpod.Pod4 + ":" + port) },
	}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// asked is a response that was read.
type asked struct {
	status  int
	body    string
	trailer http.Header
}

// askH2 makes a request; header is "Name: value" or empty.
func askH2(c *http.Client, method, path, header string, body io.Reader) (asked, error) {
	r, err := http.NewRequest(method, "http://shop"+path, body)
	if err != nil {
		return asked{}, err
	}
	if name, value, ok := strings.Cut(header, ": "); ok {
		r.Header.Set(name, value)
	}
	res, err := c.Do(r)
	if err != nil {
		return asked{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return asked{res.StatusCode, string(text), res.Trailer}, err
}

// debuggeeH2 plays an adapter that takes each request to a debuggee at addr, over HTTP/2.
func debuggeeH2(t testing.TB, addr string) func(*mux.Stream) {
	return takerH2(t, addr, wire.KindRequest)
}

// takerH2 is that for streams of a kind. Of a copy, the agent ignores what comes back.
func takerH2(t testing.TB, addr string, kind wire.Kind) func(*mux.Stream) {
	carry := carrierH2(t, addr, kind)
	return func(st *mux.Stream) { _ = carry(st) }
}

func carrierH2(t testing.TB, addr string, kind wire.Kind) func(*mux.Stream) error {
	tr := &http.Transport{Protocols: &http.Protocols{}, DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return func(st *mux.Stream) error {
		if st.Header.Protocol != wire.HTTP2 || st.Header.Kind != kind {
			t.Errorf("a stream of %s %q", st.Header.Kind, st.Header.Protocol)
		}
		_ = st.Opened(wire.Answer{})
		err := carryH2(st, tr, addr)
		if err != nil {
			st.Reset()
		}
		return err
	}
}

// carryH2 carries one request to a debuggee and its response back.
func carryH2(st *mux.Stream, tr *http.Transport, addr string) error {
	in := h2.NewReader(st)
	head, err := in.Next()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	body, feed := io.Pipe()
	r := (&http.Request{Header: http.Header{}, Trailer: http.Header{}, Body: body}).WithContext(ctx)
	for _, f := range head.Fields {
		switch f.Name {
		case ":method":
			r.Method = f.Value
		case ":path":
			if r.URL, err = r.URL.Parse("http://" + addr + f.Value); err != nil {
				return err
			}
		case ":authority":
			r.Host = f.Value
		case ":scheme":
		default:
			r.Header.Add(f.Name, f.Value)
		}
	}
	if head.End {
		r.Body = http.NoBody
	}
	r.ContentLength = -1
	if head.End {
		r.ContentLength = 0
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for end := head.End; !end; {
			f, err := in.Next()
			if err != nil {
				cancel(err)
				_ = feed.CloseWithError(err)
				return
			}
			for _, t := range f.Fields {
				r.Trailer.Add(t.Name, t.Value)
			}
			_, _ = feed.Write(f.Data)
			end = f.End
		}
		_ = feed.Close()
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			cancel(err)
		}
	}()
	res, err := tr.RoundTrip(r)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	defer func() { _ = res.Body.Close() }()
	if err := wire.WriteFrame(st, wire.Outcome{}, nil); err != nil {
		return err
	}
	w := h2.NewWriter(st)
	if err := w.Head(fieldsOf(res.StatusCode, res.Header), false); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			if err := w.Data(buf[:n], false); err != nil {
				return err
			}
		}
		var reset http2.StreamError
		switch {
		case errors.Is(err, io.EOF):
			err = endH2(w, res.Trailer)
			_ = st.CloseWrite()
			<-fed
			return errors.Join(err, st.Close())
		case errors.As(err, &reset):
			_ = w.Reset(reset.Code)
			return err
		case err != nil:
			return err
		}
	}
}

func endH2(w *h2.Writer, trailer http.Header) error {
	if len(trailer) == 0 {
		return w.Data(nil, true)
	}
	return w.Head(fieldsOf(0, trailer), true)
}

func fieldsOf(status int, header http.Header) (fields []hpack.HeaderField) {
	if status > 0 {
		fields = append(fields, hpack.HeaderField{Name: ":status", Value: itoa(status)})
	}
	for name, values := range header {
		for _, value := range values {
			fields = append(fields, hpack.HeaderField{Name: strings.ToLower(name), Value: value})
		}
	}
	return fields
}
