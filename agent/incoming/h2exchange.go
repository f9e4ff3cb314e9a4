//go:build linux

package incoming

import (
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/internal/h2"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// h2exchange is a request of HTTP/2 that an adapter is asked to take, and its response. Its goroutines are run, and send for a request
// that is not whole when it is offered. Everything that changes is guarded by the interposer's mu.
type h2exchange struct {
	*interposer
	s         *h2stream
	st        *steal
	r         *sieve.Head
	id, seat  uint64
	changed   sync.Cond
	uploading sync.WaitGroup

	stream Stream
	// head is the size of the head in bytes, as it counts for what is kept.
	head int
	// waiting is content that was not handed on, unpaid the client's credit for it. kept is what was, as long as keeps says that
	// everything is.
	waiting, kept []byte
	unpaid        int
	keeps         bool
	trailer       []hpack.HeaderField
	// asking : the adapter has not answered, so that all has to be kept.
	asking bool
	// sent says that the request was handed on whole.
	sent bool
	// over says that nobody waits for the response, or that the target has the request.
	over bool
	// givenUp says that the client, or somebody in its place, gave the request up, with the code; done that the adapter has nothing
	// more to say.
	givenUp, done bool
	code          http2.ErrCode
	// credited is how much of the content the client has its credit for, granted what it granted for the response.
	credited int
	granted  uint32
	credit   *h2.Credit
	// reserved is memory from the budget of first bytes.
	reserved int
	// hurry resets the stream of a request that was given up.
	hurry *time.Timer
}

func (m *interposer) newExchange(s *h2stream, r *sieve.Head, st *steal) *h2exchange {
	x := &h2exchange{interposer: m, s: s, st: st, r: r, keeps: true, asking: true}
	x.changed.L = &m.mu
	for _, f := range r.Fields {
		x.head += int(f.Size())
	}
	return x
}

// offer has a debuggee asked for a request, or the target when there is no memory to keep it.
func (m *interposer) offer(s *h2stream, r *sieve.Head, st *steal) {
	fields := r.Fields
	x := m.newExchange(s, r, st)
	if !x.begin() {
		m.toTarget(s, fields)
		return
	}
	x.r = r.Keep()
	m.mix()
}

// begin says whether the request can be offered, which is done with the next offerFresh.
func (x *h2exchange) begin() bool {
	if x.head+len(x.waiting) > wire.MaxFirst || !x.st.session.visit() {
		return false
	}
	if !x.account() {
		x.st.session.visits.Done()
		return false
	}
	x.seat, x.id = x.conversation.seat(x.st.session), x.st.session.requests.Add(1)
	x.credit = x.down.windows.Stream()
	x.s.x = x
	x.exchanges++
	x.fresh = append(x.fresh, x)
	return true
}

// offerFresh has the requests offered that came since the last time.
func (m *interposer) offerFresh() {
	m.mu.Lock()
	fresh := m.fresh
	m.fresh = nil
	m.mu.Unlock()
	for _, x := range fresh {
		m.others.Go(x.run)
	}
}

// account keeps the memory that is taken equal to what is held, and says whether there is enough.
func (x *h2exchange) account() bool {
	want := len(x.waiting) + len(x.kept)
	if !x.over {
		want += x.head
	}
	switch more := want - x.reserved; {
	case more <= 0:
		x.memory.firsts.give(-more)
	case !x.memory.firsts.takeAll(more):
		return false
	}
	x.reserved = want
	return true
}

// run asks the adapter, and passes on the response or has the target answer.
func (x *h2exchange) run() {
	defer x.st.session.visits.Done()
	defer x.end()
	first, err := x.first()
	if err != nil {
		x.flushBoth()
		return
	}
	h := wire.Header{Kind: wire.KindRequest, From: x.from, To: x.to, Protocol: wire.HTTP2, Connection: x.seat, Request: x.id, Probe: x.r.Probe, TLS: x.wasTLS()}
	stream, await, err := x.st.offer(h, first, x.st.patience())
	if err != nil {
		x.refused(err)
		return
	}
	defer x.uploading.Wait()
	defer x.stopSending()
	defer func() { _ = stream.Close() }()
	stop := contextAfter(x.st.session.taken, func() { splice.Reset(stream) })
	defer stop()
	x.starts(stream)
	if err := await(); err != nil {
		if f := unheard(err, x.mayRepeat()); f != nil {
			x.log.Debug("perhaps delivered", zap.Uint64("request", x.id), zap.Error(err))
			x.failed(*f)
			return
		}
		x.refused(err)
		return
	}
	x.delivered()
	x.log.Debug("delivered", zap.Uint64("request", x.id))
	var outcome wire.Outcome
	switch err := wire.ReadFrame(stream, &outcome); {
	case err != nil:
		x.failed(unanswered(x.mayRepeat()))
	case outcome.Failed != nil:
		x.log.Debug("not answered", zap.Uint64("request", x.id), zap.String("why", outcome.Failed.Text))
		x.failed(*outcome.Failed)
	default:
		x.forgetCopy()
		x.answer(stream)
	}
}

// mayRepeat says whether the target may answer the request although the debuggee may have it.
func (x *h2exchange) mayRepeat() bool {
	return x.r.Probe || !x.r.Tunnel && x.st.mayRepeat(like(x.r))
}

// first is the request's beginning, all that is known of it.
func (x *h2exchange) first() (first []byte, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return nil, h2.ErrClosed
	}
	n := min(len(x.waiting), wire.MaxFirst-x.head)
	whole := x.s.ended && x.trailer == nil && n == len(x.waiting)
	first, err = h2.Begin(x.r.Fields, x.waiting[:n], whole)
	if err == nil && len(first) > wire.MaxFirst {
		n, whole = 0, x.s.ended && x.trailer == nil && len(x.waiting) == 0
		first, err = h2.Begin(x.r.Fields, nil, whole)
	}
	if err != nil || len(first) > wire.MaxFirst {
		x.giveToTarget()
		return nil, errors.Join(err, h2.ErrLong)
	}
	x.handOn(n)
	x.sent = whole
	return first, nil
}

// starts notes the stream, and sends the rest of the request.
func (x *h2exchange) starts(stream Stream) {
	x.down.out.FlushLater()
	x.mu.Lock()
	x.stream = stream
	x.givenUp = x.over
	x.mu.Unlock()
	x.uploading.Go(func() { x.send(stream) })
}

// refused has the target answer a request that was not delivered.
func (x *h2exchange) refused(err error) {
	x.log.Debug("passthrough", zap.Uint64("request", x.id), zap.Error(err))
	x.mu.Lock()
	if !x.over {
		x.giveToTarget()
	}
	x.mu.Unlock()
	x.flushBoth()
}

// flushBoth writes what is pending without waiting: whoever reads either end does that.
func (m *interposer) flushBoth() {
	m.up.out.FlushLater()
	m.down.out.FlushLater()
}

// giveToTarget has the target answer a request of which everything is kept.
func (x *h2exchange) giveToTarget() {
	m, s := x.interposer, x.s
	data := append(x.kept, x.waiting...)
	x.over, x.waiting, x.kept, x.keeps = true, nil, nil, false
	if x.credit != nil {
		x.credit.Close()
	}
	x.account()
	x.changed.Broadcast()
	s.x = nil
	m.admit(s)
	if m.streams[s.id] != s {
		return
	}
	last := s.ended && x.trailer == nil
	m.up.out.Headers(s.up.id, x.r.Fields, last && len(data) == 0)
	if x.granted > 0 {
		m.up.out.Frame(func(f *http2.Framer) error { return f.WriteWindowUpdate(s.up.id, x.granted) })
	}
	m.up.debt += int64(x.credited)
	s.debt = x.credited
	if len(data) > 0 {
		s.up.window = m.up.windows.Stream()
		m.up.push(&s.up, item{data: data, end: last})
	}
	if x.trailer != nil {
		m.up.headers(&s.up, x.trailer, true)
	}
}

// abandon notes that the client's stream is over.
func (x *h2exchange) abandon(code http2.ErrCode) {
	if x.over {
		return
	}
	clean := x.sent && x.s.answered
	x.over, x.code, x.waiting, x.kept, x.keeps = true, code, nil, nil, false
	x.owe(x.unpaid)
	x.unpaid = 0
	x.account()
	x.credit.Close()
	x.changed.Broadcast()
	if x.stream == nil || clean {
		return
	}
	// Whoever sends the request says it, unless the link does not take it.
	x.givenUp = true
	x.hurry = time.AfterFunc(lingering, func() { splice.Reset(x.stream) })
}

// failed has the target answer a request that the debuggee did not, or says that nobody does.
func (x *h2exchange) failed(f wire.Failure) {
	x.mu.Lock()
	var body []byte
	switch {
	case x.over:
	case f.Fallback && x.keeps:
		x.giveToTarget()
	default:
		if body = x.respondInstead(f); body == nil {
			x.endAnswered()
		}
	}
	x.mu.Unlock()
	x.flushBoth()
	if body == nil || x.content(body, true) != nil {
		return
	}
	x.mu.Lock()
	x.endAnswered()
	x.mu.Unlock()
	x.flushBoth()
}

// end counts the exchange out.
func (x *h2exchange) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.exchanges--
	if x.hurry != nil {
		x.hurry.Stop()
	}
	x.over, x.waiting, x.kept = true, nil, nil
	x.account()
	x.changed.Broadcast()
	x.space.Broadcast()
}
