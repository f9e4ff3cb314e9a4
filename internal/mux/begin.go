package mux

import (
	"context"
	"errors"
	"fmt"

	"podstep.dev/internal/wire"
)

// Begin opens a stream without waiting for the answer: it sends h and the first bytes in one write. The caller may write
// to the stream and end its half at once, calls Await before it reads, and closes the stream. What is written before the
// answer is lost to whoever refuses.
func (s *Session) Begin(ctx context.Context, h wire.Header, first []byte) (*Stream, error) {
	ys, err := s.ym.OpenStream()
	if err != nil {
		return nil, s.openError(ctx, h, err)
	}
	st := s.track(ys)
	st.Header = h
	hangUp := context.AfterFunc(ctx, st.Reset)
	defer hangUp()
	// A refusal may be there before all is written, so Await has the last word.
	st.unsent = wire.WriteFrame(st, h, first)
	return st, nil
}

// Await waits for the answer to a stream that Begin opened. A refusal is returned as *wire.Refusal; then, and on any
// error, the stream is closed. The error is a wire.ErrDropped when the other end dropped the stream without an answer, which it does
// with none that it has opened; after any other one it may have. A write may go on meanwhile.
func (st *Stream) Await(ctx context.Context) error {
	err := st.await(ctx)
	var refusal *wire.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		err = refusal
	case st.isDroppedByPeer():
		err = fmt.Errorf("%w: %w", wire.ErrDropped, st.session.openError(ctx, st.Header, err))
	default:
		err = st.session.openError(ctx, st.Header, err)
	}
	_ = st.Close()
	return err
}

func (st *Stream) await(ctx context.Context) error {
	hangUp := context.AfterFunc(ctx, st.Reset)
	defer hangUp()
	err := wire.ReadFrame(st, &st.Answer)
	switch {
	case err != nil:
		return errors.Join(st.unsent, err)
	case st.Answer.Refusal != nil:
		return st.Answer.Refusal
	case st.unsent != nil:
		return st.unsent
	case !hangUp():
		return context.Cause(ctx)
	}
	return nil
}

// openError says why a stream could not be opened.
func (s *Session) openError(ctx context.Context, h wire.Header, err error) error {
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case s.ym.IsClosed():
		err = s.Wait()
	}
	return fmt.Errorf("open %s stream: %w", h.Kind, err)
}
