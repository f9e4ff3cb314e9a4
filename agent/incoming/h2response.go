//go:build linux

package incoming

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"go.uber.org/zap"
	"golang.org/x/net/http2"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/wire"
)

// respondInstead says to the client that nobody answers, and returns the content that is to follow.
func (x *h2exchange) respondInstead(f wire.Failure) []byte {
	if kind := x.r.Value("content-type"); h2.IsGRPC(kind) {
		x.down.out.Headers(x.s.id, h2.GRPCFailure(kind, f.Status, f.Text), true)
		return nil
	}
	body := f.Text + "\n"
	head := h2.Fields(":status", strconv.Itoa(f.Status), "content-type", "text/plain; charset=utf-8", "content-length", strconv.Itoa(len(body)))
	without := x.r.About.Method == "HEAD"
	x.down.out.Headers(x.s.id, head, without)
	if without {
		return nil
	}
	return []byte(body)
}

// endAnswered ends a stream that was answered; a client that still sends is told that nobody wants it (RFC 9113 §8.1).
func (x *h2exchange) endAnswered() {
	if x.streams[x.s.id] != x.s {
		return
	}
	if !x.s.ended {
		x.resetId(x.s.id, http2.ErrCodeNo)
	}
	x.s.ended, x.s.answered, x.sent = true, true, true
	x.forget(x.s, http2.ErrCodeNo)
}

// answer passes the response on.
func (x *h2exchange) answer(stream Stream) {
	in := &frames{}
	in.src, in.buffers = stream, x.memory.buffers
	defer in.free()
	err := x.respond(in)
	var reset *h2.ResetError
	x.mu.Lock()
	switch {
	case x.over:
	case errors.As(err, &reset):
		x.s.ended = x.s.ended || x.s.answered && reset.Code == http2.ErrCodeNo
		x.resetClient(x.s, reset.Code)
	case !errors.Is(err, io.EOF), !x.s.answered:
		x.log.Debug("broken off", zap.Uint64("request", x.id), zap.Error(err))
		x.resetClient(x.s, http2.ErrCodeInternal)
	default:
		for !x.sent && !x.over {
			x.changed.Wait()
		}
		x.forgetIfOver(x.s)
	}
	x.mu.Unlock()
	x.flushBoth()
}

// respond passes the response on until the stream's end, which is its error.
func (x *h2exchange) respond(in *frames) error {
	b := newBlocks()
	for {
		f, ok, err := in.next()
		switch {
		case err != nil:
			return err
		case !ok:
			if err := in.more(); err != nil {
				return err
			}
			continue
		}
		whole := false
		switch f.kind {
		case http2.FrameHeaders:
			fragment, good := f.fragment()
			if !good {
				return h2.ErrFrame
			}
			whole = b.begin(f, fragment)
		case http2.FrameContinuation:
			whole, err = b.goOn(f)
		case http2.FrameData:
			p, _, good := f.data()
			if !good {
				return h2.ErrFrame
			}
			err = x.content(p, f.ends())
		case http2.FrameRSTStream:
			if len(f.payload) == 4 {
				return &h2.ResetError{Code: http2.ErrCode(binary.BigEndian.Uint32(f.payload))}
			}
			return h2.ErrFrame
		default:
			err = fmt.Errorf("%w: a frame %v", h2.ErrFrame, f.kind)
		}
		if whole {
			err = x.section(b)
		}
		if err != nil {
			return err
		}
	}
}

// section passes a header section on.
func (x *h2exchange) section(b *blocks) error {
	fields, err := b.read()
	if err != nil {
		return fmt.Errorf("%w: %w", h2.ErrFrame, err)
	}
	x.mu.Lock()
	if x.over || x.s.answered {
		x.mu.Unlock()
		return h2.ErrClosed
	}
	end := b.first.ends()
	x.down.out.Headers(x.s.id, fields, end)
	x.s.answered, x.spoke = end, true
	if end {
		x.forgetIfOver(x.s)
	}
	x.mu.Unlock()
	_ = x.down.out.Flush()
	return nil
}

// content passes content on as the client's windows go.
func (x *h2exchange) content(p []byte, end bool) error {
	for first := true; first || len(p) > 0; first = false {
		n := 0
		if len(p) > 0 {
			var err error
			if n, err = x.credit.Take(x.life, len(p)); err != nil {
				return err
			}
		}
		x.mu.Lock()
		if x.over {
			x.mu.Unlock()
			return h2.ErrClosed
		}
		last := end && n == len(p)
		x.down.debt += int64(n)
		x.spoke = true
		x.down.out.Data(x.s.id, p[:n], last)
		if last {
			x.s.answered = true
			x.forgetIfOver(x.s)
		}
		x.mu.Unlock()
		_ = x.down.out.Flush()
		p = p[n:]
	}
	return nil
}
