//go:build linux

package incoming

import (
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/internal/filter"
	"podstep.dev/internal/http1"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

const (
	// firstPatience is for a client's first bytes, before it is taken for one that waits for the server to speak first. It is
	// connected to one then, and loses nothing when it was only slow.
	firstPatience = 2 * time.Millisecond
	// bodyPatience is for a body that a filter looks into; what comes later is judged by what there is.
	bodyPatience = 5 * time.Second
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
	seats  map[*Subscriptions]uint64
	parted bool
	// said is closed when nothing more is read of the client.
	said chan struct{}
	// raw is where all that the client sends goes, once that is decided.
	raw atomic.Pointer[rawParty]
	// closing says that no further request is answered.
	closing atomic.Bool
	// elsewhere says that a debuggee answered last, asked that there was a request, and told that sessions with filters
	// know that they miss what comes.
	elsewhere, asked, told atomic.Bool

	mu sync.Mutex
	// target is the connection to the target, if there is one; greeted the one to a debuggee that nothing was said on.
	target, greeted *leg
	// stream is the request's that a debuggee answers.
	stream Stream
	// dead says that all was reset.
	dead bool
}

// rawParty is a party that gets plain bytes.
type rawParty struct{ splice.Conn }

// turn is a request that somebody answers.
type turn struct {
	method string
	// switches says that it may be answered by another protocol, closes that no other request follows.
	switches, closes bool
	// done is closed when it is answered, or nobody will.
	done chan struct{}
	once sync.Once
}

func (t *turn) finish() { t.once.Do(func() { close(t.done) }) }

func newTurn(r *http1.Request) *turn {
	return &turn{method: strings.Clone(r.Method), switches: r.Switch, closes: r.Close, done: make(chan struct{})}
}

// converse serves a connection of requests until it is over.
func (c *connection) converse() {
	v := &conversation{connection: c, seats: map[*Subscriptions]uint64{}, said: make(chan struct{})}
	v.in.src, v.in.buffers = c.client.conn, c.memory.buffers
	defer v.in.free()
	stop := contextAfter(c.life, v.reset)
	defer stop()
	err := v.read()
	if err != nil {
		v.reset()
	}
	close(v.said)
	v.part()
	v.others.Wait()
	_ = v.client.conn.Close()
	c.log.Debug("connection ended", zap.Error(err))
}

// read passes on what the client sends, request by request, until it has no more to say.
func (v *conversation) read() error {
	v.begin()
	for {
		req, err := v.head()
		switch end := v.in.end; {
		case errors.Is(end, io.EOF) && len(v.in.bytes()) == 0:
			v.part()
		case end != nil && !errors.Is(end, io.EOF) && !v.closing.Load():
			return end
		}
		v.await()
		raw := v.raw.Load()
		switch {
		case v.closing.Load():
			return v.discard()
		case raw != nil:
			return v.sendRaw(raw)
		case errors.Is(err, io.EOF) && len(v.in.bytes()) == 0:
			return nil
		case err != nil:
			v.log.Debug("no request", zap.Error(err))
			if string(v.in.bytes()) != "\r\n" {
				v.tellUnread(v.why(err))
			}
			if raw, err = v.rawParty(); err != nil {
				return err
			}
			return v.sendRaw(raw)
		}
		if !v.withdraw() {
			return v.sendRaw(v.raw.Load())
		}
		if err := v.pass(req); err != nil {
			return err
		}
	}
}

// begin waits a moment for the client. One that says nothing may wait for the server's first words, so it is connected to the
// target at once where only some requests are claimed, or to the debuggee.
func (v *conversation) begin() {
	if len(v.client.first()) == 0 && v.client.end == nil {
		v.client.look(firstPatience, func(head []byte) bool { return len(head) > 0 })
	}
	v.in.put(v.client.kept)
	v.in.end = v.client.end
	v.client.drop()
	if len(v.in.bytes()) > 0 || v.in.end != nil {
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

// pass passes one request on to whoever it is for.
func (v *conversation) pass(req *http1.Request) error {
	v.asked.Store(true)
	st := v.route(req)
	// The route may have read the body, so that the head has moved.
	raw := len(req.Raw)
	scanner := req.Body.Scanner()
	n, whole, err := scanner.Take(v.in.bytes()[raw:])
	if err != nil {
		return err
	}
	first := v.in.bytes()[:raw+n]
	v.turn = newTurn(req)
	up, err := v.ask(st, req, first, whole)
	if err != nil {
		return err
	}
	v.in.skip(raw + n)
	if !whole {
		// An error of the bytes themselves ends the connection: nobody knows where a next request begins.
		if err := v.in.body(scanner, up.write); err != nil {
			return err
		}
	}
	up.finish()
	return nil
}

// give passes a request's beginning on to the target.
func (v *conversation) give(first []byte) (*upload, error) {
	target, err := v.turnToTarget(v.turn)
	if err != nil {
		return nil, err
	}
	if _, err := target.conn.Write(first); err != nil {
		return nil, err
	}
	return straight(target.conn), nil
}

// turnToTarget has the target answer a request, on a new connection if it has ended an idle one.
func (v *conversation) turnToTarget(t *turn) (*leg, error) {
	for {
		target, err := v.toTarget()
		switch {
		case err != nil:
			return nil, err
		case target.expect(t):
			v.elsewhere.Store(false)
			return target, nil
		case v.raw.Load() != nil:
			return nil, errOver
		}
	}
}

// sendRaw sends all that the client says to one party until its end.
func (v *conversation) sendRaw(raw *rawParty) error {
	err := v.in.rest(func(p []byte) error {
		_, err := raw.Write(p)
		return err
	})
	if errors.Is(err, io.EOF) {
		_ = raw.CloseWrite()
		return nil
	}
	return err
}

// rawParty chooses who gets what is no request, or none that can be told apart.
func (v *conversation) rawParty() (*rawParty, error) {
	l := v.greeted
	if st := v.all(); l == nil && st != nil {
		l = v.greet(st)
	}
	if l == nil {
		var err error
		if l, err = v.toTarget(); err != nil {
			return nil, err
		}
	}
	raw := &rawParty{l.conn}
	v.raw.Store(raw)
	return raw, nil
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
	for _, st := range v.claimed() {
		if st.filter != nil {
			st.session.unread.add(st.id, why)
		}
	}
}

// greet connects the client to the debuggee, which may have the first word; nil when the adapter does not take it.
func (v *conversation) greet(st *steal) *leg {
	if !st.takes() || !st.session.visit() {
		return nil
	}
	stream, await, err := st.offer(wire.Header{Kind: wire.KindIncoming, From: v.from, To: v.to}, nil, 0)
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

// withdraw ends the connection to a debuggee that nothing was said on, because the client speaks HTTP. It returns false when something
// was.
func (v *conversation) withdraw() bool {
	if v.greeted == nil {
		return true
	}
	if !v.greeted.withdraw() {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.greeted = nil
	return true
}

// discard reads what a client still sends to a connection that was ended for it.
func (v *conversation) discard() error {
	_ = v.client.conn.SetReadDeadline(time.Now().Add(lingering))
	for v.in.end == nil {
		v.in.skip(len(v.in.bytes()))
		_ = v.in.fill()
	}
	return nil
}

// part tells everybody, once, that the client has no more to say.
func (v *conversation) part() {
	if v.parted {
		return
	}
	v.parted = true
	for s, seat := range v.seats {
		s.opts.Closed(seat)
	}
	v.mu.Lock()
	legs := []*leg{v.target, v.greeted}
	v.mu.Unlock()
	for _, l := range legs {
		if l != nil {
			_ = l.conn.CloseWrite()
			l.in.alone()
		}
	}
}

// route says whose a request is; nil: the target's.
func (v *conversation) route(req *http1.Request) *steal {
	for _, st := range v.claimed() {
		if st.filter != nil && !v.matches(st.filter, req) {
			continue
		}
		if st.probes.isProbe(req) || !st.takes() {
			return nil
		}
		return st
	}
	return nil
}

// matches asks a filter, and lets it look into the body if need be.
func (v *conversation) matches(f *filter.Matcher, req *http1.Request) bool {
	about := sieve.About(req)
	switch f.Match(about) {
	case filter.Yes:
		return true
	case filter.No:
		return false
	}
	body, complete := v.peek(req)
	return f.MatchBody(about, body, complete) == filter.Yes
}

// peek waits for as much of a request's content as a filter may look into. req may be older than the bytes are then.
func (v *conversation) peek(req *http1.Request) (content []byte, complete bool) {
	var raw []byte
	head := len(req.Raw)
	_ = v.client.conn.SetReadDeadline(time.Now().Add(bodyPatience))
	defer func() { _ = v.client.conn.SetReadDeadline(time.Time{}) }()
	for {
		scanner := req.Body.Scanner()
		n, done, err := scanner.Take(v.in.bytes()[head:])
		raw = v.in.bytes()[head : head+n]
		if done || err != nil || n >= filter.MaxBody {
			break
		}
		if err := v.in.fill(); err != nil {
			if isTimeout(err) {
				v.in.end = nil
			}
			break
		}
	}
	return sieve.Content(req.Body, raw)
}

// all is the claim of a session that takes all requests, if there is one.
func (v *conversation) all() *steal {
	for _, st := range v.claimed() {
		if st.filter == nil {
			return st
		}
	}
	return nil
}

// takes says whether it makes sense to ask the session's adapter now.
func (st *steal) takes() bool {
	return st.params.OnPause == wire.PauseHold || st.params.OnPause == wire.PauseReject || st.session.paused.Load() == nil
}
