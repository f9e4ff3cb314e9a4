package outgoing

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// maxEarly bounds the bytes that are taken from a stream while its connection is being made.
const maxEarly = 4 << 10

// Dial connects to to, answers the stream with the connection's own address or with the kernel's errno, and joins the
// two until both are over. A reset of the stream, or the end of ctx, ends the attempt as well as the connection.
func (o *Outgoing) Dial(ctx context.Context, stream Stream, to netip.AddrPort) {
	log := o.log.With(zap.Stringer("to", to))
	if !to.IsValid() {
		_ = stream.Refuse(&wire.Refusal{Errno: syscall.EINVAL, Text: "dial: no address"})
		return
	}
	attempt, cancel := context.WithCancel(ctx)
	defer cancel()
	early := watch(stream, cancel)
	// Keep-alive is the debuggee's own affair, as any socket option.
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	conn, err := dialer.DialContext(attempt, "tcp", to.String())
	first := early.stop()
	if err != nil {
		log.Debug("dial refused", zap.Error(err))
		_ = stream.Refuse(refusal(err))
		return
	}
	local := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	if err := stream.Opened(wire.Answer{Local: netip.AddrPortFrom(local.Addr().Unmap(), local.Port())}); err != nil {
		splice.Reset(conn)
		splice.Reset(stream)
		return
	}
	log.Debug("dialled")
	stats, err := splice.Join(ctx, &begun{Stream: stream, first: first}, conn.(*net.TCPConn), splice.Options{Buffers: o.buffers})
	log.Debug("dialled connection ended", zap.Int64("sent", stats.AToB), zap.Int64("received", stats.BToA), zap.Error(err))
}

// watcher reads a stream while nobody else does, so that its reset is noticed.
type watcher struct {
	stream Stream
	done   chan struct{}
	first  []byte
}

// watch calls gone when the stream is reset before stop.
func watch(stream Stream, gone func()) *watcher {
	w := &watcher{stream: stream, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		buf := make([]byte, maxEarly)
		var err error
		for err == nil && len(w.first) < maxEarly {
			var n int
			n, err = stream.Read(buf[len(w.first):])
			w.first = buf[:len(w.first)+n]
		}
		if err != nil && !errors.Is(err, io.EOF) && !isTimeout(err) {
			gone()
		}
	}()
	return w
}

// stop ends the watch and returns what was read.
func (w *watcher) stop() []byte {
	_ = w.stream.SetReadDeadline(time.Unix(1, 0))
	<-w.done
	_ = w.stream.SetReadDeadline(time.Time{})
	return w.first
}

// begun is a stream whose first bytes were read already.
type begun struct {
	Stream
	first []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.Stream.Read(p)
}
