//go:build linux

package incoming

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http2"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

const (
	// settingsPatience is for the SETTINGS of either end, which come at once where HTTP/2 is spoken.
	settingsPatience = 2 * time.Second
	// memoryPatience is for memory for what debuggees do not take of requests.
	memoryPatience = 2 * time.Second
	// maxStreams are how many streams of one connection there may be at once, and maxExchanges how many of them at debuggees or on
	// their way; the target may allow fewer.
	maxStreams   = 8192
	maxExchanges = 512
)

// interposer is an HTTP/2 connection (RFC 9113) on which requests are told apart: each of its streams goes to the session that it is
// for, or to the target, to which there is one connection for all the target's streams.
//
// All bytes between client and target are passed on as they come, whatever they are, until a debuggee is asked for the first time. From
// there on (mixed) header blocks are written anew, because a block can only be read by who has read all before it, and the target's
// streams may have other ids than the client's. Settings, pings, windows and frames of unknown types are the ends' own affair all the time.
//
// Its goroutines: the one that reads the client; one that reads the target; for each request that a debuggee is asked for one that
// waits for the response, and one that sends the request if that is not whole at once.
type interposer struct {
	*conversation
	server socket
	// up goes to the target, down to the client.
	up, down *way
	// fromTarget is read by one goroutine.
	fromTarget frames

	// mu guards everything below, and the ways.
	mu sync.Mutex
	// space is told when a backlog shrinks, a debuggee's request is handed on, or an end is over.
	space sync.Cond
	// streams are by the client's id; byTarget has the target's by theirs, once mixed.
	streams, byTarget map[uint32]*h2stream
	// last is the highest id of the client's so far, nextTarget the least that may be used at the target, final the target's word on
	// which it takes.
	last, nextTarget, final uint32
	// mixed says that a debuggee was asked; raw that the frames cannot be told apart any more, and all is passed on.
	mixed, raw bool
	// owed is what the client is to be granted for the connection.
	owed int
	// exchanges are under way; held is their memory from the budget of first bytes.
	exchanges int
	// fresh are requests to be offered when all is read that there is.
	fresh []*h2exchange
	// targetOver says that nothing more comes of the target, clientOver nothing of the client.
	targetOver, clientOver bool
	// spoke says that a debuggee's response was sent on since the client's last ping.
	spoke bool
	// broken says that the agent ended the connection.
	broken bool
	// starved says that there was no memory for what debuggees do not take.
	starved bool
}

// h2stream is a stream of the client's. It is guarded by the interposer's mu.
type h2stream struct {
	id uint32
	// ended says that the client has sent all, answered that it was sent all.
	ended, answered bool
	// owed is what the client is to be granted for the stream.
	owed int
	// x is the request when a debuggee is asked for it, undecided when a filter waits for its content; else it is the target's.
	x         *h2exchange
	undecided *contentWait
	// up has the id at the target, down the client's.
	up, down backlog
	// debt is how much of what the target grants for the stream the client has already.
	debt int
}

func (s *h2stream) isTargets() bool { return s.x == nil && s.undecided == nil }

// serve passes on what comes, until the client has no more to say. The first bytes the target has already.
func (m *interposer) serve(began int) error {
	v := m.conversation
	client := &frames{}
	client.src, client.buffers = v.in.src, v.in.buffers
	m.up = newWay(client, h2.NewSender(m.server))
	m.down = newWay(&m.fromTarget, h2.NewSender(v.client.conn))
	m.up.toTarget, m.up.drainedOf, m.down.drainedOf = true, m.forgetIfOver, m.forgetIfOver
	m.settings(m.down, v.in.bytes()[len(http2.ClientPreface)+frameHead:began])
	v.in.skip(began)
	// What the deadlines of the conversation's inbox bound is the same connection.
	client.put(v.in.bytes())
	client.end = v.in.end
	v.in.skip(len(v.in.bytes()))
	v.mu.Lock()
	v.h2 = m
	dead := v.dead
	v.mu.Unlock()
	if dead {
		m.hangUp()
	}
	v.log.Debug("HTTP/2")
	// The client hears of nothing else before the target's SETTINGS.
	if err := m.takeIn(m.down, m.fromTargets); err != nil {
		m.breakOff(err)
		m.fromTarget.free()
		m.server.free()
		return v.discard()
	}
	v.others.Go(func() {
		defer m.server.free()
		defer m.fromTarget.free()
		m.readTarget()
	})
	defer client.free()
	defer m.undecidedEnd()
	err := m.readClient(client)
	v.in.end = client.end
	return err
}

// hangUp resets all but the client.
func (m *interposer) hangUp() {
	splice.Reset(m.server)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clientOver, m.targetOver = true, true
	for _, s := range m.streams {
		m.cancel(s, http2.ErrCodeCancel)
	}
	m.space.Broadcast()
}

// readClient passes on what the client sends.
func (m *interposer) readClient(in *frames) error {
	for {
		err := m.takeIn(m.up, m.fromClient)
		if err != nil {
			m.breakOff(err)
			return m.conversation.discard()
		}
		m.offerFresh()
		if ferr := m.up.out.Flush(); ferr != nil && !m.survives() {
			err = &partyError{fmt.Errorf("pass frames on: %w", ferr)}
		}
		m.answerLater()
		if err == nil {
			m.awaitSpace(m.up)
			err = in.more()
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			m.clientEnded()
			return nil
		case isTimeout(err) && m.isOver():
			return nil
		}
		return err
	}
}

// readTarget passes on what the target sends, and its end.
func (m *interposer) readTarget() {
	for {
		err := m.takeIn(m.down, m.fromTargets)
		if err != nil {
			m.breakOff(err)
			return
		}
		_ = m.down.out.Flush() // the client's end is told by whoever reads it
		m.up.out.FlushLater()
		if err == nil {
			m.awaitSpace(m.down)
			err = m.fromTarget.more()
		}
		if err != nil {
			m.targetEnded(err)
			return
		}
	}
}

// takeIn takes in the frames that there are of one direction.
func (m *interposer) takeIn(w *way, handle func(frame) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer w.put()
	for {
		if m.raw && !w.in.inPiece {
			w.passAll()
			return nil
		}
		f, ok, err := w.in.next()
		if err == nil && !ok {
			return nil
		}
		if err == nil {
			err = handle(f)
		}
		if err == nil {
			continue
		}
		m.log.Debug("odd frame", zap.Stringer("type", f.kind), zap.Uint32("stream", f.stream), zap.Error(err))
		if m.mixed {
			return err
		}
		m.passRest(w, f, err)
	}
}

// connectionError ends the connection (RFC 9113 §5.4.1).
type connectionError struct{ code http2.ErrCode }

func (e *connectionError) Error() string { return "connection error: " + e.code.String() }

// passRest has all that follows passed on as it comes, after bytes that break the rules of the connection as a whole: whoever gets
// them judges them.
func (m *interposer) passRest(w *way, f frame, err error) {
	why := wire.UnreadOdd
	if errors.Is(err, h2.ErrLong) {
		why = wire.UnreadLong
	}
	m.tellUnread(why)
	m.raw = true
	inBlock := !w.blocks.open && len(w.blocks.frames) > 0
	w.passBlock()
	if !inBlock {
		w.pass(f.raw)
	}
	w.put()
}

// passAll passes on all that was read, as it came.
func (w *way) passAll() {
	w.passBlock()
	w.pass(w.in.long)
	w.in.long = nil
	p := w.in.bytes()
	w.pass(p)
	w.in.skip(len(p))
	w.put()
}

// passBlock passes on the frames of a header block as they came.
func (w *way) passBlock() {
	w.pass(w.blocks.frames)
	w.blocks.frames, w.blocks.open = nil, false
}

// breakOff ends the connection for an error of the client's, or the target's, that is no single stream's.
func (m *interposer) breakOff(err error) {
	code := http2.ErrCodeProtocol
	if e, ok := errors.AsType[*connectionError](err); ok {
		code = e.code
	} else if errors.Is(err, h2.ErrLong) {
		code = http2.ErrCodeEnhanceYourCalm
	}
	m.mu.Lock()
	was := m.broken
	m.broken = true
	m.down.out.Frame(func(fr *http2.Framer) error { return fr.WriteGoAway(m.last, code, nil) })
	m.mu.Unlock()
	if was {
		return
	}
	m.hangUp()
	late := time.AfterFunc(lingering, m.client.conn.Reset)
	_ = m.down.out.Flush()
	late.Stop()
	_ = m.client.conn.CloseWrite()
	m.up.in.limit(lingering)
}

// answerLater writes to the client what is pending for it, without waiting unless that is much: it sends more than it reads then.
func (m *interposer) answerLater() {
	if m.down.out.Pending() > maxBacklog {
		_ = m.down.out.Flush()
		return
	}
	m.down.out.FlushLater()
}

// awaitSpace waits while too much waits for the other end's windows.
func (m *interposer) awaitSpace(w *way) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w.backlog > maxBacklog && !m.clientOver && !m.targetOver {
		m.space.Wait()
	}
	if w == m.up && m.starved {
		m.awaitMemory()
	}
}

// awaitMemory waits a moment for memory for what debuggees do not take, and gives the requests up that it is not there for: the others of the
// connection go on.
func (m *interposer) awaitMemory() {
	late := time.Now().Add(memoryPatience)
	defer time.AfterFunc(memoryPatience, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.space.Broadcast()
	}).Stop()
	for !m.clientOver {
		m.starved = false
		for _, s := range m.streams {
			if s.x == nil || s.x.account() {
				continue
			}
			m.starved = true
			if !time.Now().Before(late) {
				m.log.Debug("no memory for a request", zap.Uint64("request", s.x.id))
				m.resetBoth(s, http2.ErrCodeEnhanceYourCalm)
			}
		}
		if !m.starved {
			break
		}
		if time.Now().Before(late) {
			m.space.Wait()
		}
	}
}

// survives says whether the connection goes on without its target.
func (m *interposer) survives() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mixed && m.exchanges > 0
}

func (m *interposer) isOver() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.targetOver
}

// clientEnded passes on that the client sends no more. Requests that are not whole are given up.
func (m *interposer) clientEnded() {
	m.mu.Lock()
	m.clientOver = true
	for _, s := range m.streams {
		if !s.ended && !s.isTargets() {
			m.cancel(s, http2.ErrCodeCancel)
		}
	}
	m.space.Broadcast()
	m.mu.Unlock()
	_ = m.server.CloseWrite()
	m.fromTarget.alone()
}

// undecidedEnd gives requests up that are not decided: nobody is asked any more.
func (m *interposer) undecidedEnd() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clientOver = true
	for _, s := range m.streams {
		if s.undecided != nil {
			m.forget(s, http2.ErrCodeCancel)
		}
	}
}

// targetEnded passes the target's end on, when debuggees have answered what they were asked.
func (m *interposer) targetEnded(err error) {
	m.mu.Lock()
	m.targetOver = true
	m.space.Broadcast()
	if m.broken {
		m.mu.Unlock()
		return
	}
	mixed := m.mixed && m.exchanges > 0
	if mixed {
		m.down.put()
		m.down.out.Frame(func(f *http2.Framer) error { return f.WriteGoAway(m.last, http2.ErrCodeNo, nil) })
		for _, s := range m.streams {
			if s.isTargets() {
				m.resetClient(s, http2.ErrCodeInternal)
			}
		}
		m.down.out.FlushLater()
		for m.exchanges > 0 {
			m.space.Wait()
		}
	}
	m.mu.Unlock()
	switch _ = m.down.out.Flush(); {
	case errors.Is(err, io.EOF):
		_ = m.client.conn.CloseWrite()
		m.up.in.alone()
		if mixed {
			m.up.in.limit(lingering)
		}
	default:
		m.conversation.reset()
	}
}
