//go:build linux

package incoming

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/internal/http1"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

const (
	// firstPatience is for a client's first bytes, before it is taken for one that waits for the server to speak first. It is
	// connected to one then, and loses nothing when it was only slow.
	firstPatience = 2 * time.Millisecond
	// lingering is how long a client may still send to a connection that was ended for it.
	lingering = 2 * time.Second
)

// conversation is a connection on which requests are told apart: each goes to the session that it is for, or to the target.
// One is answered after the other. What is no HTTP/1, or could be read in two ways, goes to one party from there on, byte for byte.
//
// Its goroutines: the one that reads the client, which ends last; one that reads the target as long as there is a
// connection to it; and one for a request that a debuggee answers.
type conversation struct {
	*connection
	in     inbox
	others sync.WaitGroup
	// turn is the request that was passed on last.
	turn *turn
	// seats number this connection in the links of the sessions that had requests of it.
	seats map[*Subscriptions]uint64
	// said is closed when nothing more is read of the client.
	said chan struct{}
	// spoken is closed when the client has said something that is no beginning of HTTP/2, taken when an HTTP/2 connection took the
	// leg to the target over.
	spoken, taken chan struct{}
	hasSpoken     func()
	// raw is where all that the client sends goes, once that is decided.
	raw atomic.Pointer[rawParty]
	// closing says that no further request is answered.
	closing atomic.Bool
	// asked says that there was a request, and told that sessions with filters know that they miss what comes.
	asked, told atomic.Bool

	// mu is held too while a leg's state changes, and while raw is set.
	mu sync.Mutex
	// elsewhere says that a debuggee has the request that was passed on last: what the target says of itself then, or the end of its
	// connection, is not for the client.
	elsewhere bool
	// parted says that the client has no more to say; giving that the target, which is to learn that after it, is being given a request that a
	// debuggee was asked for.
	parted, giving bool
	// target is the connection to the target, if there is one; greeted the one to a debuggee that nothing was said on.
	target, greeted *leg
	// stream is the request's that a debuggee answers.
	stream Stream
	// dead says that all was reset.
	dead bool
	// h2 is the connection if it is one of HTTP/2.
	h2 *interposer
}

// rawParty is a party that gets plain bytes.
type rawParty struct{ splice.Conn }

// partyError says that whoever is to answer takes no more. What it said before, or still says, is the client's.
type partyError struct{ error }

func (e *partyError) Unwrap() error { return e.error }

// turn is a request that somebody answers.
type turn struct {
	method string
	// switches says that it may be answered by another protocol.
	switches bool
	// probe says that it is one.
	probe bool
	// last says that the client takes it for the last one on the connection.
	last bool
	// done is closed when it is answered, or nobody will.
	done chan struct{}
	once sync.Once
}

func (t *turn) finish() { t.once.Do(func() { close(t.done) }) }

func newTurn(r *http1.Request) *turn {
	return &turn{method: strings.Clone(r.Method), switches: r.Switch, last: r.Close, done: make(chan struct{})}
}

// converse serves a connection of requests until it is over.
func (c *connection) converse() {
	v := &conversation{connection: c, seats: map[*Subscriptions]uint64{}, said: make(chan struct{}), spoken: make(chan struct{}), taken: make(chan struct{})}
	v.hasSpoken = sync.OnceFunc(func() { close(v.spoken) })
	v.in.src, v.in.buffers = c.client.conn, c.memory.buffers
	defer v.in.free()
	stop := contextAfter(c.life, v.reset)
	defer stop()
	err := v.read()
	spent := errors.As(err, new(*partyError))
	if err != nil && !spent {
		v.reset()
	}
	close(v.said)
	v.hasSpoken()
	v.part()
	if spent {
		v.drain()
	}
	v.others.Wait()
	_ = v.client.conn.Close()
	c.log.Debug("connection ended", zap.Error(err))
}

// read passes on what the client sends, request by request, until it has no more to say.
func (v *conversation) read() error {
	v.begin()
	for {
		req, err := v.head()
		http2 := !v.asked.Load() && bytes.HasPrefix(v.in.bytes(), []byte("PRI *"))
		if !http2 {
			v.hasSpoken()
		}
		switch end := v.in.end; {
		case errors.Is(end, io.EOF) && v.nothing():
			v.part()
		case end != nil && !errors.Is(end, io.EOF) && !v.closing.Load():
			return end
		}
		v.await()
		switch {
		case v.closing.Load():
			return v.discard()
		case v.raw.Load() != nil:
			return v.sendRaw()
		case errors.Is(err, io.EOF) && v.nothing():
			return nil
		case http2:
			return v.http2()
		case err != nil:
			v.log.Debug("no request", zap.Error(err))
			if string(v.in.bytes()) != "\r\n" {
				v.tellUnread(v.why(err))
			}
			return v.passRaw()
		}
		if v.greeted != nil && !v.greeted.withdraw() {
			return v.sendRaw()
		}
		if more, err := v.pass(req); err != nil || !more {
			return err
		}
	}
}

// nothing says that what the client sent is no beginning of anything: an empty line may follow a request, which the target does not know of
// when that was a debuggee's.
func (v *conversation) nothing() bool {
	p := v.in.bytes()
	return len(p) == 0 || len(p) <= 2 && string(p) == "\r\n"[:len(p)] && v.isElsewhere()
}

func (v *conversation) isElsewhere() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.elsewhere
}

// begin waits a moment for the client. One that says nothing may wait for the server's first words, so it is connected to the
// target at once where only some requests are claimed, or to the debuggee.
func (v *conversation) begin() {
	if err := v.meet(); err != nil {
		v.log.Debug("target", zap.Error(err))
	}
	if len(v.client.first()) == 0 && v.client.end == nil {
		v.client.look(v.patience(), func(head []byte) bool { return len(head) > 0 })
	}
	v.in.put(v.client.kept)
	v.in.end = v.client.end
	v.client.drop()
	if len(v.in.bytes()) > 0 || v.in.end != nil && !errors.Is(v.in.end, io.EOF) {
		return
	}
	if st := v.all(); st != nil && v.greet(st) != nil {
		return
	}
	if _, err := v.toTarget(); err != nil {
		v.log.Debug("target", zap.Error(err))
	}
}

// head waits for the head of the next request. Its error says that none comes, or none that can be told apart.
func (v *conversation) head() (*http1.Request, error) {
	for {
		if p := v.in.bytes(); len(p) > 0 {
			req, err := http1.ParseRequest(p)
			if req != nil || err != nil {
				return req, err
			}
		}
		if err := v.in.fill(); err != nil {
			return nil, err
		}
		if v.raw.Load() != nil || v.closing.Load() {
			return nil, nil
		}
	}
}

// await waits until the request before is answered.
func (v *conversation) await() {
	if v.turn != nil {
		<-v.turn.done
		v.turn = nil
	}
}

// pass passes one request on to whoever it is for, and says whether others may follow.
func (v *conversation) pass(req *http1.Request) (more bool, err error) {
	v.asked.Store(true)
	st, probe := v.route(req)
	// The route may have read the body, so that the head has moved.
	raw := len(req.Raw)
	scanner := req.Body.Scanner()
	n, whole, err := scanner.Take(v.in.bytes()[raw:])
	if err != nil {
		return false, v.passRaw()
	}
	t := newTurn(req)
	t.probe = probe
	up, err := v.ask(st, req, t, v.in.bytes()[:raw+n], whole)
	switch {
	case errors.Is(err, errOver) && v.raw.Load() != nil:
		// The target has just ended the connection, or said something unasked.
		return false, v.sendRaw()
	case err != nil:
		return false, err
	}
	v.turn = t
	v.in.skip(raw + n)
	if !whole {
		if err := v.in.bodyTo(up.straightTo(), scanner, up.write); err != nil {
			return false, v.brokenOff(up, err)
		}
	}
	up.finish()
	return true, nil
}

// brokenOff sees to a request whose end does not come, or cannot be told.
func (v *conversation) brokenOff(up *upload, err error) error {
	switch malformed := errors.Is(err, http1.ErrOdd) || errors.Is(err, http1.ErrLong); {
	case v.closing.Load():
		return v.discard()
	case errors.Is(err, io.EOF):
		up.finish()
		v.part()
		v.await()
		return nil
	case malformed && up.isTargets():
		// As the target would get it from the client itself. A debuggee is not to get what may be others' requests.
		v.mu.Lock()
		target := v.target
		v.mu.Unlock()
		target.settle()
		return v.sendRaw()
	}
	return err
}

// give passes a request's beginning on to the target.
func (v *conversation) give(t *turn, first []byte) (*upload, error) {
	if v.isElsewhere() {
		first = withoutEmptyLine(first)
	}
	target, err := v.turnToTarget(t)
	if err != nil {
		return nil, err
	}
	if _, err := target.conn.Write(first); err != nil {
		return nil, &partyError{fmt.Errorf("pass a request on: %w", err)}
	}
	return straight(target.conn), nil
}

// withoutEmptyLine leaves off what ended the request before, of which the connection does not know.
func withoutEmptyLine(request []byte) []byte { return bytes.TrimPrefix(request, []byte("\r\n")) }

// turnToTarget has the target answer a request, on a new connection if it has ended an idle one.
func (v *conversation) turnToTarget(t *turn) (*leg, error) {
	for {
		target, err := v.toTarget()
		if err != nil {
			return nil, err
		}
		if target.expect(t) {
			return target, nil
		}
	}
}

// passRaw chooses who gets what is no request, or none that can be told apart, and all that comes after it.
func (v *conversation) passRaw() error {
	l := v.greeted
	if st := v.all(); l == nil && st != nil {
		l = v.greet(st)
	}
	if l == nil {
		var err error
		if l, err = v.toTarget(); err != nil && v.raw.Load() == nil {
			return err
		}
	}
	if l != nil {
		l.settle()
	}
	return v.sendRaw()
}

// sendRaw sends all that the client says to the one party until its end.
func (v *conversation) sendRaw() error {
	raw := v.raw.Load()
	if raw == nil {
		return errOver
	}
	err := v.in.restTo(raw.Conn, func(p []byte) error {
		if _, err := raw.Write(p); err != nil {
			return &partyError{fmt.Errorf("pass on: %w", err)}
		}
		return nil
	})
	if errors.Is(err, io.EOF) {
		_ = raw.CloseWrite()
		return nil
	}
	return err
}

// why says what it is about the client's bytes that no request can be told apart in them.
func (v *conversation) why(err error) wire.Unread {
	if errors.Is(err, errFull) {
		return wire.UnreadLong
	}
	return sieve.Why(v.in.bytes(), err, !v.asked.Load())
}

// tellUnread counts the connection, once, for all sessions with filters: what comes is the target's, byte for byte.
func (v *conversation) tellUnread(why wire.Unread) {
	if v.told.Swap(true) {
		return
	}
	countUnread(v.claimed(), why)
}

// greet connects the client to the debuggee, which may have the first word; nil when the adapter does not take it.
func (v *conversation) greet(st *steal) *leg {
	if !st.takes() || !st.session.visit() {
		return nil
	}
	stream, await, err := st.offer(wire.Header{Kind: wire.KindIncoming, From: v.from, To: v.to, TLS: v.wasTLS()}, nil, 0)
	if err == nil {
		err = await()
	}
	if err != nil {
		st.session.visits.Done()
		v.log.Debug("passthrough", zap.Error(err))
		return nil
	}
	stop := contextAfter(st.session.taken, func() { splice.Reset(stream) })
	l := v.newLeg(stream, func() { stop(); _ = stream.Close(); st.session.visits.Done() })
	v.mu.Lock()
	defer v.mu.Unlock()
	v.greeted = l
	return l
}

// discard reads what a client still sends to a connection that was ended for it.
func (v *conversation) discard() error {
	v.in.limit(lingering)
	v.throwAway()
	return nil
}

// drain throws away what the client says to a party that takes no more, until that has had its last word and a moment longer.
func (v *conversation) drain() {
	var last sync.WaitGroup
	last.Go(func() {
		v.others.Wait()
		v.in.limit(lingering)
	})
	v.throwAway()
	if end := v.in.end; !errors.Is(end, io.EOF) && !isTimeout(end) {
		v.reset()
	}
	last.Wait()
}

func (v *conversation) throwAway() {
	for v.in.end == nil {
		v.in.skip(len(v.in.bytes()))
		_ = v.in.fill()
	}
}

// part tells everybody, once, that the client has no more to say.
func (v *conversation) part() {
	v.mu.Lock()
	was := v.parted
	v.parted = true
	var legs []*leg
	var idle *leg
	for _, l := range []*leg{v.target, v.greeted} {
		switch {
		case l == nil, v.giving:
			// One that is being given a request learns it when it has all of that.
		case v.elsewhere && l.turn == nil && !was:
			// A request that a debuggee refuses needs one that is whole.
			idle, l.over = l, true
		default:
			legs = append(legs, l)
		}
	}
	v.mu.Unlock()
	if was {
		return
	}
	if idle != nil {
		_ = idle.conn.Close()
	}
	for s, seat := range v.seats {
		s.opts.Closed(seat)
	}
	for _, l := range legs {
		l.part()
	}
}
