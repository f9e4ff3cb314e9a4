//go:build linux

package incoming

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// exchange is a request that an adapter is asked to take, and its response. Its goroutine is run.
type exchange struct {
	*conversation
	st     *steal
	id     uint64
	stream Stream
	await  func() error
	up     *upload
	turn   *turn
	in     inbox
	// again says that the target may answer when the link is lost before the debuggee has begun to.
	again bool
}

// ask passes a request's beginning on to the adapter of the session whose it is, nil for the target; what becomes of it is known later. What
// cannot be kept for the target is the target's.
func (v *conversation) ask(st *steal, req *http1.Request, t *turn, first []byte, whole bool) (*upload, error) {
	if st == nil || !st.session.visit() {
		return v.give(t, first)
	}
	// What is not whole yet may grow, at most to all that is kept of one.
	reserved := len(first)
	switch {
	case whole:
	case req.Body.Kind == http1.Length && req.Body.Length < int64(wire.MaxFirst-len(req.Raw)):
		reserved = len(req.Raw) + int(req.Body.Length)
	default:
		reserved = wire.MaxFirst
	}
	if !v.memory.firsts.takeAll(reserved) {
		st.session.visits.Done()
		return v.give(t, first)
	}
	if !v.turnElsewhere() {
		v.memory.firsts.give(reserved)
		st.session.visits.Done()
		return nil, errOver
	}
	kept := slices.Clone(first)
	h := wire.Header{
		Kind: wire.KindRequest, From: v.from, To: v.to, Protocol: wire.HTTP1, TLS: v.wasTLS(),
		Connection: v.seat(st.session), Request: st.session.requests.Add(1), Probe: t.probe,
	}
	stream, await, err := st.offer(h, kept, st.patience())
	if err != nil {
		v.memory.firsts.give(reserved)
		st.session.visits.Done()
		v.log.Debug("passthrough", zap.Error(err))
		return v.give(t, first)
	}
	x := &exchange{
		conversation: v, st: st, id: h.Request, stream: stream, await: await, turn: t, again: t.probe || st.mayRepeat(req),
		up: newUpload(stream, t.switches, v.memory.firsts, kept, reserved),
	}
	x.in.src, x.in.buffers = stream, v.memory.buffers
	v.mu.Lock()
	v.stream = stream
	v.mu.Unlock()
	v.others.Go(x.run)
	return x.up, nil
}

// patience is how long the adapter may take, beside what it takes anyway.
func (st *steal) patience() time.Duration {
	return max(time.Duration(st.params.Hold)*time.Second, time.Duration(st.session.patience.Load()))
}

// seat is the number of the connection in a session's link.
func (v *conversation) seat(s *Subscriptions) uint64 {
	if v.seats[s] == 0 {
		v.seats[s] = s.seats.Add(1)
	}
	return v.seats[s]
}

// mayRepeat says whether the target may answer a request that was delivered to a debuggee that did not begin to: both
// write to the same databases.
func (st *steal) mayRepeat(req *http1.Request) bool {
	return st.params.Repeat != wire.RepeatNever && req.IsRepeatable(st.params.Repeat == wire.RepeatIdempotent)
}

// run waits for the adapter's answer and passes on the response, or has the target answer.
func (x *exchange) run() {
	defer x.st.session.visits.Done()
	defer x.in.free()
	defer x.up.forget()
	stop := contextAfter(x.st.session.taken, func() { splice.Reset(x.stream) })
	defer stop()
	if err := x.await(); err != nil {
		if f := unheard(err, x.again); f != nil {
			x.log.Debug("perhaps delivered", zap.Uint64("request", x.id), zap.Error(err))
			x.failed(*f)
			return
		}
		x.log.Debug("passthrough", zap.Uint64("request", x.id), zap.Error(err))
		x.toTarget()
		return
	}
	x.up.delivered()
	x.log.Debug("delivered", zap.Uint64("request", x.id))
	var outcome wire.Outcome
	err := wire.ReadFrame(x.stream, &outcome)
	switch {
	case err != nil:
		_ = x.stream.Close()
		x.failed(unanswered(x.again))
	case outcome.Failed != nil:
		x.log.Debug("not answered", zap.Uint64("request", x.id), zap.String("why", outcome.Failed.Text))
		_ = x.stream.Close()
		x.failed(*outcome.Failed)
	default:
		x.up.forget()
		x.answer()
	}
}

// unheard is what becomes of a request of which the adapter's answer, err, does not say whether the debuggee has it: a link that is lost or
// silent may have taken a yes with it. It is nil for one that was certainly not delivered. again says that the target may have it nevertheless.
func unheard(err error, again bool) *wire.Failure {
	if _, refused := errors.AsType[*wire.Refusal](err); refused || errors.Is(err, wire.ErrDropped) {
		return nil
	}
	f := &wire.Failure{Status: 502, Fallback: again, Text: "podstep: the session was lost before it was known whether the developer's program has the request"}
	if e, ok := errors.AsType[*unheardError](err); ok && e.late {
		f.Status, f.Text = 504, "podstep: the session does not say whether the developer's program has the request"
	}
	return f
}

// unanswered is what becomes of a delivered request whose session ended without a word of the debuggee's.
func unanswered(again bool) wire.Failure {
	return wire.Failure{Status: 502, Fallback: again, Text: "podstep: the session ended before the request was answered"}
}

// answer passes the response on.
func (x *exchange) answer() {
	end, err := x.respond(&x.in, x.turn.method, func(res *http1.Response) {
		if res.Switched {
			x.settle()
		}
	})
	switch {
	case err != nil:
		x.giveUp()
		return
	case end == odd || end == switched:
		x.settle()
		x.turn.finish()
		if err := x.in.restTo(x.client.conn, x.toClient); !errors.Is(err, io.EOF) {
			x.reset()
			return
		}
		x.closeWrite()
		<-x.said
		_ = x.stream.Close()
		return
	case end == last, x.turn.last:
		x.endClient()
	}
	x.up.answered()
	x.turn.finish()
	// The adapter ends its half right behind the response. A stream that is closed before is reset, and the debuggee's connection with it.
	for x.in.end == nil {
		x.in.skip(len(x.in.bytes()))
		_ = x.in.fill()
	}
	select {
	case <-x.up.whole:
	case <-x.said:
	}
	_ = x.stream.Close()
}

// settle has all that the client says from here on go to the debuggee.
func (x *exchange) settle() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.raw.Load() == nil {
		x.raw.Store(&rawParty{x.stream})
	}
}

// toTarget has the target answer instead.
func (x *exchange) toTarget() {
	x.mu.Lock()
	x.giving = true
	x.mu.Unlock()
	target, err := x.turnToTarget(x.turn)
	if err != nil {
		x.log.Debug("passthrough failed", zap.Error(err))
		x.giveUp()
		return
	}
	x.up.turnTo(target.conn)
	x.mu.Lock()
	x.giving = false
	parted := x.parted
	x.mu.Unlock()
	if parted {
		target.part()
	}
}

// giveUp ends the connection.
func (x *exchange) giveUp() {
	x.reset()
	x.up.drop()
	x.turn.finish()
}

// failed has the target answer a request that the debuggee did not, or says that nobody does.
func (x *exchange) failed(f wire.Failure) {
	if f.Fallback && x.up.keep() {
		x.toTarget()
		return
	}
	x.up.drop()
	body := f.Text + "\n"
	reason := "Bad Gateway"
	if f.Status == 504 {
		reason = "Gateway Timeout"
	}
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", f.Status, reason, len(body))
	if x.turn.method == "HEAD" {
		body = ""
	}
	if err := x.toClient([]byte(head + body)); err != nil {
		x.giveUp()
		return
	}
	x.endClient()
	x.turn.finish()
}

// endClient tells the client that no other request is answered.
func (x *exchange) endClient() {
	x.closing.Store(true)
	_ = x.client.conn.CloseWrite()
	x.conversation.in.limit(lingering)
}
