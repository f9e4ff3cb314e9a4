package tunnel

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"podstep.dev/internal/wire"
)

// BenchmarkRequest compares a request that has its own stream with one on a connection that has a stream, and with one
// that goes to the debuggee without podstep.
func BenchmarkRequest(b *testing.B) {
	d := served(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	answer := func(b *testing.B, in *bufio.Reader) {
		r, err := http.ReadResponse(in, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	kept := func(b *testing.B, conn io.ReadWriter) {
		in := bufio.NewReader(conn)
		for b.Loop() {
			if _, err := io.WriteString(conn, get("/")); err != nil {
				b.Fatal(err)
			}
			answer(b, in)
		}
	}
	b.Run("direct", func(b *testing.B) {
		conn, err := net.Dial("tcp", d.addr)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		kept(b, conn)
	})
	b.Run("connection", func(b *testing.B) {
		stream, err := connect(b, &Tunnel{}, d).Open(b.Context(), incoming(wire.KindIncoming), nil)
		if err != nil {
			b.Fatal(err)
		}
		kept(b, stream)
		_ = stream.Close()
	})
	b.Run("request", func(b *testing.B) {
		a := connect(b, &Tunnel{}, d)
		b.ReportAllocs()
		for b.Loop() {
			stream, err := a.open(1, get("/"))
			if err != nil {
				b.Fatal(err)
			}
			_ = stream.CloseWrite()
			a.reader(stream, "GET")
			_, _ = io.Copy(io.Discard, stream)
			_ = stream.Close()
		}
	})
}

// BenchmarkUpload is a body of 1 MiB.
func BenchmarkUpload(b *testing.B) {
	d := served(b, various)
	a := connect(b, &Tunnel{}, d)
	request := post("/b", string(large))
	b.SetBytes(int64(len(request)))
	for b.Loop() {
		a.ask(1, request)
	}
	if n := d.conns.Load(); n != 1 {
		b.Errorf("the debuggee saw %d connections, want 1", n)
	}
}
