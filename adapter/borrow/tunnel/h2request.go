package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"go.uber.org/zap"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/http1"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// maxKept is how much of a request is kept until the debuggee answers, in bytes, for one that refuses it unprocessed.
const maxKept = wire.MaxFirst

var (
	// errGivenUp says that the client wants no answer any more.
	errGivenUp = errors.New("the client gave the request up")
	// errHung says that the debuggee took too long.
	errHung = errors.New("the debuggee did not begin to answer in time")
)

// h2asker is who made a request of HTTP/2 and gets its response, as messages of package h2: an agent's stream, or a replay.
type h2asker interface {
	io.Reader
	asker
}

// h2exchange is one request of HTTP/2 and its response. Its goroutines: run's, which has the response, one that takes the request to the
// debuggee, and one that watches for a debuggee that hangs; run waits for them.
type h2exchange struct {
	tunnel *Tunnel
	header wire.Header
	asker  h2asker
	in     *h2.Reader
	out    *h2.Writer
	rec    Recording
	// asked and answered record what they are given.
	asked, answered *h2.Writer
	head            h2.Frame
	ctx             context.Context //nolint:containedctx // of this request
	cancel          context.CancelCauseFunc
	told            bool // the asker knows the outcome
	moved           atomic.Int64
	// handed is closed when the request is with the debuggee whole, or is not taken there any more.
	handed chan struct{}
	asking sync.WaitGroup
	// early is what was read of the request before it was decided about; reading has what is being read, nil when there is none.
	early   []h2.Frame
	reading chan h2read

	mu sync.Mutex
	// kept is what was sent of the request behind its head, unless that is long; whole says that it is all.
	kept     []h2.Frame
	keptSize int
	whole    bool
	// code is why the client gave the request up.
	code http2.ErrCode
}

func (t *Tunnel) newH2exchange(h wire.Header, asker h2asker, rec Recording) *h2exchange {
	x := &h2exchange{
		tunnel: t, header: h, asker: asker, in: h2.NewReader(asker), out: h2.NewWriter(asker), handed: make(chan struct{}), code: http2.ErrCodeCancel,
	}
	x.record(rec)
	return x
}

// record has the exchange recorded from here on.
func (x *h2exchange) record(rec Recording) {
	x.rec, x.asked, x.answered = rec, h2.NewWriter(recorded(rec.Request)), h2.NewWriter(recorded(rec.Response))
}

// recorded is a writer to a recording.
type recorded func([]byte)

func (r recorded) Write(b []byte) (int, error) {
	r(b)
	return len(b), nil
}

// requestH2 serves one request of HTTP/2 of a client, as request does one of HTTP/1, or a copy of one. The asker is the stream's.
func (t *Tunnel) requestH2(ctx context.Context, clients *Clients, stream *mux.Stream, asker h2asker, rec Recording) {
	x := t.newH2exchange(stream.Header, asker, rec)
	c, err := clients.enter(ctx, stream.Header.Connection)
	if err != nil {
		x.refuse(stream, err)
		x.rec.End(err)
		return
	}
	c.join()
	x.ctx, x.cancel = context.WithCancelCause(c.ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-stream.Dropped():
			x.cancel(errGivenUp)
		case <-x.ctx.Done():
		}
	}()
	err = x.serve(c, stream)
	if err == nil && x.isWhole() {
		x.asking.Wait() // it hears of the half's end, which makes that of the stream a clean one
	}
	x.cancel(nil)
	<-watched
	_ = stream.Close()
	x.asking.Wait()
	c.leave()
	x.rec.End(err)
}

// serve decides about the request and has that done. The error is what cut it short; a refusal is none.
func (x *h2exchange) serve(c *client, stream *mux.Stream) error {
	if x.isCopy() {
		return x.serveCopy(c, stream)
	}
	if err := x.readHead(stream); err != nil {
		x.refuse(stream, err)
		return err
	}
	waiting, stop := context.WithCancelCause(x.ctx)
	defer context.AfterFunc(c.gone, func() { stop(context.Cause(c.gone)) })()
	defer stop(nil)
	ruled, err := x.tunnel.decide(waiting, x.header, x.rec, x.about, func() ([]byte, bool) { return x.peek(waiting) })
	switch {
	case errors.Is(err, errReject):
		x.tunnel.rejected.Add(1)
		x.tunnel.logOf(x.header).Debug("rejected a request")
		return x.reply(stream, errReject.Error(), 503, h2.Fields("retry-after", "1"), "text/plain; charset=utf-8", rejection)
	case err != nil:
		x.refuse(stream, err)
		return nil
	case ruled.answer != nil:
		x.tunnel.failed.Add(1)
		x.tunnel.logOf(x.header).Debug("failed a request")
		return x.reply(stream, ruled.why, ruled.answer.Status, nil, ruled.answer.kind(), ruled.answer.text())
	}
	return x.deliver(c, stream)
}

// readHead reads what the request is.
func (x *h2exchange) readHead(stream *mux.Stream) error {
	defer context.AfterFunc(x.ctx, stream.Reset)()
	f, err := x.in.Next()
	switch {
	case err == nil && h2.Value(f.Fields, ":method") == "":
		err = errors.New("the request has no method")
		fallthrough
	case errors.Is(err, h2.ErrFrame), errors.Is(err, io.EOF):
		return &wire.Refusal{Errno: syscall.EINVAL, Text: err.Error()}
	case err != nil:
		return fmt.Errorf("read the request: %w", err)
	}
	f.Fields = slices.Clone(f.Fields)
	x.head, x.whole = f, f.End
	return x.asked.Head(f.Fields, f.End)
}

// refuse leaves the request to the target.
func (x *h2exchange) refuse(stream *mux.Stream, err error) {
	x.tunnel.refused.Add(1)
	x.tunnel.logOf(x.header).Debug("refused a request", zap.Error(err))
	refusal := asRefusal(err)
	x.rec.Went(WentTarget, refusal.Error())
	_ = stream.Refuse(refusal)
}

// reply answers in the debuggee's stead. The request is read to its end, unless it is long: then its client is told that nobody wants the
// rest (RFC 9113 §8.1).
func (x *h2exchange) reply(stream *mux.Stream, why string, status int, fields []hpack.HeaderField, kind, text string) error {
	x.rec.Went(WentNobody, why)
	defer context.AfterFunc(x.ctx, stream.Reset)()
	head, body := h2reply(x.head.Fields, status, fields, kind, text)
	err := stream.Opened(wire.Answer{})
	if err == nil {
		err = x.section(head, body == "")
	}
	if err == nil && body != "" {
		err = x.content([]byte(body), true)
	}
	if err == nil {
		err = x.skip(maxKept)
	}
	if err == nil {
		err = stream.CloseWrite()
	}
	if err == nil && x.isWhole() {
		_, _ = x.in.Next() // the half's end
	}
	if err != nil {
		return fmt.Errorf("answer for the debuggee: %w", err)
	}
	return nil
}

// skip reads the rest of a request that the debuggee does not get, but of a long one no more than most bytes.
func (x *h2exchange) skip(most int) error {
	for !x.isWhole() {
		f, err := x.next()
		switch {
		case err != nil:
			return err
		case f.Fields != nil:
			_ = x.asked.Head(f.Fields, f.End)
		default:
			_ = x.asked.Data(f.Data, f.End)
		}
		if x.keep(f); x.keptSize > most && !f.End {
			return x.out.Reset(http2.ErrCodeNo)
		}
	}
	return nil
}

// section passes a header section of the response on, the first one with the outcome.
func (x *h2exchange) section(fields []hpack.HeaderField, end bool) error {
	_ = x.answered.Head(fields, end)
	if x.told {
		return x.out.Head(fields, end)
	}
	x.told = true
	first, err := h2.Begin(fields, nil, end)
	if err != nil {
		return err
	}
	return x.asker.Outcome(wire.Outcome{}, first)
}

// content passes content of the response on.
func (x *h2exchange) content(data []byte, end bool) error {
	_ = x.answered.Data(data, end)
	return x.out.Data(data, end)
}

// repeatable is what a fallback is decided by.
func (x *h2exchange) repeatable() *http1.Request {
	r := &http1.Request{Method: h2.Value(x.head.Fields, ":method")}
	for _, f := range x.head.Fields {
		r.Fields = append(r.Fields, http1.Field{Name: f.Name, Value: f.Value})
	}
	return r
}

// failure is what the asker is told when there is no answer for that reason.
func (x *h2exchange) failure(err error) *wire.Failure {
	var reset *h2.ResetError
	fall := x.tunnel.Fallback
	switch {
	case errors.Is(err, errHung):
		return x.tunnel.late(x.header, x.repeatable())
	case errors.Is(err, errUnprocessed), errors.Is(err, errLegOver):
		return &wire.Failure{Status: 502, Fallback: true, Text: "podstep: the debuggee refused the request unprocessed"}
	case errors.As(err, &reset):
		f := fall.closed(x.repeatable())
		f.Text = "podstep: the debuggee reset the request without an answer: " + reset.Code.String()
		return f
	}
	return fall.closed(x.repeatable())
}

// fail tells the asker that there will be no answer.
func (x *h2exchange) fail(err error) error {
	if x.isCopy() {
		return errors.Join(fmt.Errorf("the debuggee did not answer: %w", err), x.asker.CloseWrite())
	}
	failure := x.failure(err)
	x.told = true
	x.rec.Went(instead(x.header, failure), failure.Text)
	if err := x.asker.Outcome(wire.Outcome{Failed: failure}, nil); err != nil {
		return err
	}
	return x.asker.CloseWrite()
}
