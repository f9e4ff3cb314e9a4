package tunnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/net/http2"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// dialH2 connects to the debuggee's port for h, for all requests of its client.
func (t *Tunnel) dialH2(ctx context.Context, h wire.Header, run func(func())) (*h2leg, error) {
	conn, err := t.dial(ctx, h)
	if err != nil {
		return nil, err
	}
	l, err := newH2leg(ctx, conn, run)
	if errors.Is(err, errNotHTTP2) || errors.As(err, new(*wire.Refusal)) {
		if stopped, _ := t.gate.now(); !stopped && t.NotHTTP2 != nil {
			t.NotHTTP2(h.Port, err)
		}
	}
	return l, err
}

// deliver takes the request to the debuggee, over the client's connection.
func (x *h2exchange) deliver(c *client, stream *mux.Stream) error {
	another := func() (*h2leg, error) { return c.stream(x.ctx, x.tunnel, x) }
	l, err := another()
	if err != nil {
		x.refuse(stream, err)
		return nil
	}
	if err := stream.Opened(wire.Answer{}); err != nil {
		l.release()
		return fmt.Errorf("answer: %w", err)
	}
	if x.isCopy() { // the agent sends it behind the answer
		x.record(x.tunnel.record(x.header))
		if err := x.readHead(stream); err != nil {
			l.release()
			return err
		}
	}
	return x.run(l, another)
}

// run takes the request to the debuggee over a reserved stream and the response to the asker, and returns when both are over. another
// reserves a stream of a connection for one more attempt, after one that the debuggee refused unprocessed.
func (x *h2exchange) run(l *h2leg, another func() (*h2leg, error)) error {
	x.tunnel.delivered.Add(1)
	x.wentOn()
	defer context.AfterFunc(x.ctx, func() {
		if !errors.Is(context.Cause(x.ctx), errGivenUp) {
			splice.Reset(x.asker) // what is read of it still has no end of its own
		}
	})()
	s, err := l.open(x.head.Fields, x.head.End)
	if err != nil {
		if l, err = another(); err == nil {
			s, err = l.open(x.head.Fields, x.head.End)
		}
	}
	if err != nil {
		return x.fail(errUnprocessed)
	}
	x.rec.SeenAs(x.header.From, s.id)
	defer func() { s.close(x.closing()) }()
	first := s // another takes the request whole
	x.asking.Go(func() {
		x.ask(first)
		if x.isWhole() {
			_, _ = x.in.Next() // the half's end
		}
	})
	f, err := x.first(s)
	if errors.Is(err, errUnprocessed) && x.isWhole() {
		if next, e := another(); e == nil {
			s.close(http2.ErrCodeCancel)
			var again *h2stream
			if again, err = x.again(next); err == nil {
				s = again
				f, err = x.first(s)
			}
		}
	}
	switch {
	case err == nil:
		err = x.respond(s, f)
	case x.ctx.Err() == nil:
		err = x.fail(err)
	default:
		err = context.Cause(x.ctx)
	}
	x.tunnel.logOf(x.header).Debug("delivered a request of HTTP/2", zap.Int64("in", x.moved.Load()), zap.Error(err))
	return x.given(err)
}

// first waits for the first frame of an answer.
func (x *h2exchange) first(s *h2stream) (h2.Frame, error) {
	watching, unwatch := context.WithCancel(x.ctx)
	var watch sync.WaitGroup
	if d := x.tunnel.HangTimeout; d > 0 && !x.isCopy() {
		watch.Go(func() { x.tunnel.gate.watch(watching, d, &x.moved, func() { s.giveUp(errHung) }) })
	}
	if x.header.Probe {
		watch.Go(func() { x.tunnel.gate.watchProbe(watching, func() { s.giveUp(errHung) }) })
	}
	f, err := s.read(x.ctx)
	unwatch()
	watch.Wait()
	return f, err
}

// respond passes the response on from its first frame, and waits for the rest of the request.
func (x *h2exchange) respond(s *h2stream, f h2.Frame) error {
	for {
		var err error
		if f.Fields != nil {
			err = x.section(f.Fields, f.End)
		} else {
			err = x.content(f.Data, f.End)
		}
		if err != nil {
			return err
		}
		if f.End {
			return x.finish(s)
		}
		if f, err = s.read(x.ctx); err != nil {
			return x.breakOff(err)
		}
	}
}

// breakOff ends a response that the debuggee does not end.
func (x *h2exchange) breakOff(err error) error {
	if x.ctx.Err() != nil {
		return context.Cause(x.ctx)
	}
	code := http2.ErrCodeInternal
	var reset *h2.ResetError
	if errors.As(err, &reset) {
		code = reset.Code
	}
	return errors.Join(fmt.Errorf("the debuggee broke its answer off: %w", err), x.out.Reset(code), x.asker.CloseWrite())
}

// finish waits until the request is over, too: a debuggee that wants no more of it resets the stream (RFC 9113 §8.1).
func (x *h2exchange) finish(s *h2stream) error {
	reading, stop := context.WithCancel(x.ctx)
	defer stop()
	var wait sync.WaitGroup
	wait.Go(func() {
		select {
		case <-x.handed:
			stop()
		case <-reading.Done():
		}
	})
	_, err := s.read(reading)
	stop()
	wait.Wait()
	var reset *h2.ResetError
	switch {
	case x.ctx.Err() != nil:
		return context.Cause(x.ctx)
	case x.isWhole():
	case errors.As(err, &reset):
		_ = x.out.Reset(reset.Code)
	default:
		_ = x.out.Reset(http2.ErrCodeNo) // its connection is over
	}
	return x.asker.CloseWrite()
}

// ask takes the request behind its head to the debuggee, and keeps a short one. The debuggee may answer without it.
func (x *h2exchange) ask(s *h2stream) {
	defer close(x.handed)
	for taken := true; !x.isWhole(); {
		f, err := x.next()
		if err != nil {
			x.giveUp(err)
			return
		}
		if f.Fields != nil {
			f.Fields = slices.Clone(f.Fields)
			_ = x.asked.Head(f.Fields, f.End)
		} else {
			_ = x.asked.Data(f.Data, f.End)
		}
		x.keep(f)
		if taken && x.ctx.Err() == nil {
			taken = s.send(x.ctx, f, func(n int) { x.moved.Add(int64(n)) }) == nil
		}
	}
}

// keep keeps a frame of the request, and notes its end.
func (x *h2exchange) keep(f h2.Frame) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.whole = f.End
	if x.keptSize += len(f.Data); x.keptSize > maxKept {
		x.kept = nil
		return
	}
	f.Data = slices.Clone(f.Data)
	x.kept = append(x.kept, f)
}

// isWhole says whether the asker sent all of the request.
func (x *h2exchange) isWhole() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.whole
}

// again sends a kept request whole over another reserved stream.
func (x *h2exchange) again(l *h2leg) (*h2stream, error) {
	<-x.handed // it is read whole, and a refused stream takes nothing
	x.mu.Lock()
	kept, size := x.kept, x.keptSize
	x.mu.Unlock()
	if size > maxKept {
		l.release()
		return nil, errUnprocessed
	}
	s, err := l.open(x.head.Fields, x.head.End)
	if err != nil {
		return nil, err
	}
	x.rec.SeenAs(x.header.From, s.id)
	for _, f := range kept {
		if s.send(x.ctx, f, func(n int) { x.moved.Add(int64(n)) }) != nil {
			break // who reads hears why
		}
	}
	return s, nil
}

// giveUp notes that the rest of the request does not come.
func (x *h2exchange) giveUp(err error) {
	var reset *h2.ResetError
	if errors.As(err, &reset) {
		x.mu.Lock()
		x.code = reset.Code
		x.mu.Unlock()
	}
	x.cancel(errGivenUp)
}

// closing is the code for the debuggee's stream, if that is not over. What the client said of it comes last.
func (x *h2exchange) closing() http2.ErrCode {
	if errors.Is(context.Cause(x.ctx), errGivenUp) {
		<-x.handed // the reset is read behind what was sent before it
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.code
}

// given is the error of an exchange, with the code of a client that gave it up.
func (x *h2exchange) given(err error) error {
	if !errors.Is(err, errGivenUp) {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return fmt.Errorf("%w: %v", err, x.code)
}
