package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"go.uber.org/zap"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// request serves one request of a client. Until it has answered `opened` the agent may give it to the target; from then on it
// is the debuggee's, and no byte of it is sent there twice.
func (t *Tunnel) request(ctx context.Context, clients *Clients, stream *mux.Stream) {
	if stream.Header.Protocol == wire.HTTP2 {
		t.requestH2(ctx, clients, stream, agentStream{stream}, t.record(stream.Header))
		return
	}
	x := &exchange{tunnel: t, header: stream.Header, asker: agentStream{stream}, rec: t.record(stream.Header)}
	c, err := clients.enter(ctx, stream.Header.Connection)
	if err != nil {
		x.refuse(stream, err)
	} else {
		err = x.serve(c, stream)
	}
	x.rec.End(err)
}

// serve decides about the request and has that done. The error is what cut it short; a refusal is none.
func (x *exchange) serve(c *client, stream *mux.Stream) error {
	if err := x.readHead(c.ctx, stream); err != nil {
		x.refuse(stream, err)
		return err
	}
	ruled, err := x.tunnel.decide(c.gone, x.header, x.rec, x.about, func() ([]byte, bool) { return x.peek(c.gone, stream) })
	switch {
	case errors.Is(err, errReject):
		return x.reject(c.ctx, stream)
	case err != nil:
		x.refuse(stream, err)
		return nil
	case ruled.answer != nil:
		return x.answerFor(c.ctx, stream, *ruled.answer, ruled.why)
	}
	return x.deliver(c, stream)
}

// deliver takes the request to the debuggee, over the client's leg.
func (x *exchange) deliver(c *client, stream *mux.Stream) (err error) {
	var keep bool
	defer func() {
		l := x.leg // a joint that is being reset looks at it still
		if !keep {
			l.close()
			l = nil
		}
		c.give(l)
	}()
	if err := x.reach(c); err != nil {
		x.refuse(stream, err)
		return nil
	}
	if err := stream.Opened(wire.Answer{}); err != nil {
		stream.Reset()
		return fmt.Errorf("answer: %w", err)
	}
	c.occupy(x)
	defer c.occupy(nil)
	keep, err = x.run(c.ctx)
	return err
}

// reach finds a leg: the client's, or another.
func (x *exchange) reach(c *client) error {
	if x.leg = c.take(); x.leg != nil {
		return nil
	}
	conn, err := x.tunnel.dial(c.ctx, x.header)
	if err != nil {
		return err
	}
	// An empty line before a request ends the one before it, which this connection has not seen.
	x.first = bytes.TrimPrefix(x.first, []byte("\r\n"))
	x.leg = newLeg(c.ctx, conn)
	return nil
}

// refuse leaves the request to the target.
func (x *exchange) refuse(stream *mux.Stream, err error) {
	x.tunnel.refused.Add(1)
	x.tunnel.logOf(x.header).Debug("refused a request", zap.Error(err))
	refusal := asRefusal(err)
	x.rec.Went(WentTarget, refusal.Error())
	_ = stream.Refuse(refusal)
}

// readHead reads as much of the request as is needed to know what it is.
func (x *exchange) readHead(ctx context.Context, stream *mux.Stream) error {
	defer context.AfterFunc(ctx, stream.Reset)()
	b := make([]byte, 0, 4<<10)
	for {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, 4*cap(b)), b...)
		}
		n, err := stream.Read(b[len(b):cap(b)])
		if n > 0 {
			x.rec.Request(b[len(b) : len(b)+n])
		}
		b = b[:len(b)+n]
		request, problem := http1.ParseRequest(b)
		switch {
		case problem != nil:
			return &wire.Refusal{Errno: syscall.EINVAL, Text: problem.Error()}
		case request != nil:
			x.request, x.first = request, b
			return nil
		case errors.Is(err, io.EOF):
			return &wire.Refusal{Errno: syscall.EINVAL, Text: "the request has no end of its head"}
		case err != nil:
			return fmt.Errorf("read the request: %w", err)
		}
	}
}

// agentStream is the stream of a request.
type agentStream struct{ *mux.Stream }

// Outcome is one frame, in the same write as the response's first bytes.
func (c agentStream) Outcome(o wire.Outcome, first []byte) error { return wire.WriteFrame(c, o, first) }

var _ splice.Conn = agentStream{}
