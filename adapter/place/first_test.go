package place

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"
	"time"
)

func TestFirstByteIsReadAgain(t *testing.T) {
	near, far := net.Pipe()
	go func() { _, _ = io.WriteString(far, "hello"); _ = far.Close() }()
	var f First
	if err := f.Await(t.Context(), near, time.Minute, func() { _ = near.Close() }); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(iotest.OneByteReader(readerOf(func(b []byte) (int, error) { return f.Read(near, b) })))
	if err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

type readerOf func([]byte) (int, error)

func (r readerOf) Read(b []byte) (int, error) { return r(b) }

func TestAwaitSaysWhyThereIsNoFirstByte(t *testing.T) {
	left := errors.New("the person left")
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(left)
	for name, test := range map[string]struct {
		ctx   context.Context
		bound time.Duration
		far   func(net.Conn)
		want  error
	}{
		"ended":     {t.Context(), time.Minute, func(c net.Conn) { _ = c.Close() }, io.EOF},
		"too late":  {t.Context(), time.Millisecond, func(net.Conn) {}, context.DeadlineExceeded},
		"cancelled": {cancelled, time.Minute, func(net.Conn) {}, left},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			test.far(far)
			var f First
			if err := f.Await(test.ctx, near, test.bound, func() { _ = near.Close() }); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}
