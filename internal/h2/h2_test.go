package h2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func head(pairs ...string) (fields []hpack.HeaderField) {
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return fields
}

func TestMessageKeepsOrderAndSensitivity(t *testing.T) {
	want := head(":method", "POST", ":scheme", "http", ":path", "/a?b", ":authority", "x", "z", "1", "a", "2", "z", "3")
	want[5].Sensitive = true
	trailer := head("grpc-status", "0")
	begin, err := Begin(want, []byte("one"), false)
	check(t, err)
	var link bytes.Buffer
	link.Write(begin)
	w := NewWriter(&link)
	long := bytes.Repeat([]byte("x"), MaxData+1)
	check(t, w.Data(long, false))
	check(t, w.Head(trailer, true))
	r := NewReader(&link)
	f, err := r.Next()
	check(t, err)
	if d := cmp.Diff(want, f.Fields); d != "" || f.End {
		t.Errorf("head %v, ends: %v", d, f.End)
	}
	var data []byte
	for range 3 {
		f, err = r.Next()
		check(t, err)
		data = append(data, f.Data...)
	}
	if !bytes.Equal(data, append([]byte("one"), long...)) {
		t.Errorf("content of %d bytes", len(data))
	}
	f, err = r.Next()
	check(t, err)
	if d := cmp.Diff(trailer, f.Fields); d != "" || !f.End {
		t.Errorf("trailer %v, ends: %v", d, f.End)
	}
	if _, err = r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %v", err)
	}
}

func TestMessageIsGivenUp(t *testing.T) {
	var link bytes.Buffer
	check(t, NewWriter(&link).Reset(http2.ErrCodeCancel))
	var reset *ResetError
	if _, err := NewReader(&link).Next(); !errors.As(err, &reset) || reset.Code != http2.ErrCodeCancel {
		t.Errorf("%v", err)
	}
}

func FuzzReader(f *testing.F) {
	begin, err := Begin(head(":method", "GET", ":scheme", "http", ":path", "/"), []byte("content"), true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(begin)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for range len(b) + 1 {
			if _, err := r.Next(); err != nil {
				return
			}
		}
		t.Error("more frames than bytes")
	})
}

func TestSenderSplitsALongHead(t *testing.T) {
	var out bytes.Buffer
	s := NewSender(&out)
	want := head(":status", "200", "long", string(bytes.Repeat([]byte("{"), 40<<10)))
	s.Headers(5, want, true)
	check(t, s.Flush())
	fr := http2.NewFramer(nil, &out)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f, err := fr.ReadFrame()
	check(t, err)
	got := f.(*http2.MetaHeadersFrame)
	if d := cmp.Diff(want, got.Fields); d != "" || got.StreamID != 5 || !got.StreamEnded() {
		t.Error(d, got)
	}
}

// stuck blocks each write until it is let go.
type stuck struct{ began, let chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	select {
	case s.began <- struct{}{}:
	default:
	}
	<-s.let
	return len(p), nil
}

func TestSenderWaitsOnlyInFlush(t *testing.T) {
	out := stuck{make(chan struct{}, 1), make(chan struct{})}
	s := NewSender(out)
	s.Bytes([]byte("x"))
	s.FlushLater()
	<-out.began
	s.Data(1, make([]byte, 4*pending), true)
	s.FlushLater()
	flushed := make(chan error, 1)
	go func() { flushed <- s.Flush() }()
	select {
	case err := <-flushed:
		flushed <- err
		t.Error("nothing was read, and there was room")
	case <-time.After(20 * time.Millisecond):
	}
	close(out.let)
	check(t, <-flushed)
}

func TestFlowIsOfConnectionAndStream(t *testing.T) {
	f := NewFlow()
	a, b := f.Stream(), f.Stream()
	take(t, a, 100_000, DefaultWindow)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if n, err := b.Take(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("took %d of a spent connection: %v", n, err)
	}
	check(t, f.Grant(10))
	take(t, b, 100, 10)
	check(t, f.Grant(1000))
	check(t, f.SetInitial(DefaultWindow+5))
	take(t, a, 100, 5)
	go func() { _ = a.Grant(7) }()
	take(t, a, 100, 7)
	if f.TryTake(1000) || !f.TryTake(988) || f.TryTake(1) {
		t.Error("not what the connection has left")
	}
	a.Close()
	if _, err := a.Take(t.Context(), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("took of a closed stream: %v", err)
	}
	if err := b.Grant(maxWindow); !errors.Is(err, ErrWindow) {
		t.Errorf("granted too much: %v", err)
	}
}

func take(t *testing.T, c *Credit, n, want int) {
	t.Helper()
	if got, err := c.Take(t.Context(), n); err != nil || got != want {
		t.Errorf("took %d, want %d: %v", got, want, err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
