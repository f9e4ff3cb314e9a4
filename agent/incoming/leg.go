//go:build linux

package incoming

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// contextAfter is context.AfterFunc for whom the outcome of stopping is of no interest.
func contextAfter(ctx context.Context, f func()) (stop func()) {
	s := context.AfterFunc(ctx, f)
	return func() { s() }
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// errOver says that whoever was to answer has ended the connection.
var errOver = errors.New("the connection was ended by the other side")

// leg is a conversation's connection to whoever answers: the target, or the debuggee as long as nothing of the client is
// known. Its goroutine reads it.
type leg struct {
	*conversation
	conn splice.Conn
	in   inbox

	// What is here is guarded by the conversation's mu.

	// turn is the request that is answered, nil when there is none.
	turn *turn
	// over says that nothing more comes of it.
	over bool
	// handed says that the connection is somebody else's, who has heard what was not passed on once gone is closed.
	handed bool
	heard  []byte
	gone   chan struct{}
}

// newLeg starts to pass on what conn says. free is called when nothing of it is read any more.
func (v *conversation) newLeg(conn splice.Conn, free func()) *leg {
	l := &leg{conversation: v, conn: conn, gone: make(chan struct{})}
	l.in.src, l.in.buffers = conn, v.memory.buffers
	v.others.Go(func() {
		defer close(l.gone)
		defer l.in.free()
		l.run()
		if !l.isHanded() {
			free()
		}
	})
	return l
}

// toTarget returns the connection to the target, made if need be. It is called by one at a time: whoever has a request for it.
func (v *conversation) toTarget() (*leg, error) {
	v.mu.Lock()
	target, over := v.target, v.dead || v.raw.Load() != nil
	usable := target != nil && !target.over
	v.mu.Unlock()
	switch {
	case over:
		return nil, errOver
	case usable:
		return target, nil
	}
	conn, err := v.dial(v.life)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dead {
		splice.Reset(conn)
		return nil, errOver
	}
	v.target = v.newLeg(conn, conn.free)
	return v.target, nil
}

// turnElsewhere says that a debuggee is asked for the next answer, and whether that can still be.
func (v *conversation) turnElsewhere() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dead || v.raw.Load() != nil {
		return false
	}
	v.elsewhere = true
	return true
}

// expect says that a request is answered next, and whether that can still be.
func (l *leg) expect(t *turn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.turn, l.elsewhere = t, false
	return true
}

// settle has all that the client says from here on go to this leg, and says whether that can still be.
func (l *leg) settle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.raw.Load() != nil {
		return false
	}
	l.elsewhere = false
	l.raw.Store(&rawParty{l.conn})
	return true
}

// speak says whether what comes of the leg is for the client; if it is no answer, all is plain bytes from here on.
func (l *leg) speak() (t *turn, may bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t = l.turn
	if l.over || t == nil && l.elsewhere {
		l.over = true
		return nil, false
	}
	if t == nil && l.raw.Load() == nil {
		l.raw.Store(&rawParty{l.conn})
	}
	return t, true
}

// passRest passes on the rest of what is said as plain bytes; the request that it answers, if any, is over with it.
func (l *leg) passRest() {
	l.mu.Lock()
	t := l.turn
	if l.raw.Load() == nil {
		l.raw.Store(&rawParty{l.conn})
	}
	l.turn, l.elsewhere = nil, false
	l.mu.Unlock()
	if t != nil {
		t.finish()
	}
	l.ended(l.in.restTo(l.client.conn, l.toClient))
}

// withdraw ends a leg that nothing was said on. It returns false when something was.
func (l *leg) withdraw() bool {
	l.mu.Lock()
	used := l.raw.Load() != nil
	if !used {
		l.over, l.greeted = true, nil
	}
	l.mu.Unlock()
	if used {
		return false
	}
	_ = l.conn.CloseWrite()
	splice.Reset(l.conn)
	return true
}

// hold keeps back what may be the beginning of an HTTP/2 server's words until the client says that it speaks that too.
func (l *leg) hold() {
	l.mu.Lock()
	over := l.over || l.turn != nil || l.elsewhere || l.handed || l.raw.Load() != nil
	l.mu.Unlock()
	if over {
		return
	}
	patience := time.NewTimer(settingsPatience)
	defer patience.Stop()
	select {
	case <-l.spoken:
	case <-l.taken:
	case <-patience.C:
	}
}

func (l *leg) isHanded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.handed
}

// handOver ends the leg, but not its connection, which is the caller's with what was heard on it. It returns false when it was used or
// has ended.
func (l *leg) handOver() bool {
	l.mu.Lock()
	may := !l.over && l.raw.Load() == nil
	l.handed = may
	l.mu.Unlock()
	if !may {
		return false
	}
	close(l.taken)
	conn := l.conn.(socket)
	_ = conn.SetReadDeadline(time.Unix(1, 0))
	<-l.gone
	_ = conn.SetReadDeadline(time.Time{})
	if end := l.in.end; end != nil && !isTimeout(end) {
		splice.Reset(conn)
		conn.free()
		return false
	}
	return true
}

// part tells the leg that the client has no more to say.
func (l *leg) part() {
	_ = l.conn.CloseWrite()
	l.in.alone()
}

// run passes on what comes until it ends.
func (l *leg) run() {
	for {
		err := l.in.fill()
		if err == nil && isSettings(l.in.bytes()) {
			l.hold()
		}
		if l.isHanded() {
			l.heard = slices.Clone(l.in.bytes())
			return
		}
		if err != nil {
			l.ended(err)
			return
		}
		t, may := l.speak()
		switch {
		case !may:
			// A debuggee answers: what is said unasked is not for the client.
			_ = l.conn.Close()
			return
		case t == nil:
			// It speaks first, or says why it ends, or is of another protocol.
			if !l.asked.Load() && !bytes.HasPrefix(l.in.bytes(), []byte("HTTP/1.")) {
				l.tellUnread(wire.UnreadServer)
			}
			l.passRest()
			return
		}
		end, err := l.respond(&l.in, t.method, func(res *http1.Response) {
			if res.Switched || res.Close || t.last {
				l.settle()
				t.finish()
			}
		})
		if err != nil {
			l.ended(err)
			return
		}
		if end != answered || t.last || len(l.in.bytes()) > 0 {
			if end == odd {
				l.tellUnread(wire.UnreadOdd)
			}
			// No other request is answered here, or nobody can tell which. What the client sends all the same is the target's affair.
			l.passRest()
			return
		}
		l.answered()
		t.finish()
	}
}

func (l *leg) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn = nil
}

// ended passes the end on, unless a debuggee answers: then the client has nothing to do with it.
func (l *leg) ended(err error) {
	clean := errors.Is(err, io.EOF)
	l.mu.Lock()
	t := l.turn
	quiet := l.over || t == nil && l.elsewhere
	l.turn, l.over = nil, true
	if !quiet && clean && l.raw.Load() == nil {
		l.raw.Store(&rawParty{l.conn})
	}
	l.mu.Unlock()
	switch {
	case quiet:
		_ = l.conn.Close()
	case clean:
		l.closeWrite()
	default:
		l.reset()
	}
	if t != nil {
		t.finish()
	}
}

// ending says how a response ended.
type ending int

const (
	// answered : with its last byte.
	answered ending = iota
	// last : likewise, and no other follows.
	last
	// switched : what follows is of another protocol.
	switched
	// odd : it cannot be told where it ends.
	odd
)

// respond passes one response on to the client, and the interim ones before it. final is called with the head of the
// final one before the client hears of that. On odd, nothing of the odd part was passed on yet.
func (v *conversation) respond(in *inbox, method string, final func(*http1.Response)) (ending, error) {
	for {
		res, err := http1.ParseResponse(in.bytes(), method)
		if err != nil {
			return odd, nil
		}
		if res == nil {
			switch err := in.fill(); {
			case errors.Is(err, errFull), err != nil && len(in.bytes()) > 0:
				return odd, nil
			case err != nil:
				return odd, err
			}
			continue
		}
		if !res.Interim {
			final(res)
		}
		if res.Switched {
			return switched, nil
		}
		scanner := res.Body.Scanner()
		n, done, err := scanner.Take(in.bytes()[len(res.Raw):])
		n += len(res.Raw)
		interim, end := res.Interim, answered
		if res.Close {
			end = last
		}
		if werr := v.toClient(in.bytes()[:n]); werr != nil {
			return odd, werr
		}
		in.skip(n)
		switch {
		case err != nil:
			return odd, nil
		case interim:
			continue
		case !done:
			err = in.bodyTo(v.client.conn, scanner, v.toClient)
			if errors.Is(err, http1.ErrOdd) {
				return odd, nil
			}
			if err != nil && res.Body.Kind == http1.UntilClose && errors.Is(err, io.EOF) {
				return last, nil
			}
		}
		return end, err
	}
}

// toClient sends to the client.
func (v *conversation) toClient(p []byte) error {
	_, err := v.client.conn.Write(p)
	return err
}

// closeWrite ends what the client hears.
func (v *conversation) closeWrite() {
	_ = v.client.conn.CloseWrite()
	v.in.alone()
}

// reset ends the connection and all that belongs to it, so that everybody sees a reset.
func (v *conversation) reset() {
	v.mu.Lock()
	was := v.dead
	v.dead = true
	legs := []*leg{v.target, v.greeted}
	stream, h2 := v.stream, v.h2
	v.mu.Unlock()
	if was {
		return
	}
	splice.Reset(v.client.conn)
	if h2 != nil {
		h2.hangUp()
	}
	for _, l := range legs {
		if l != nil {
			splice.Reset(l.conn)
		}
	}
	if stream != nil {
		splice.Reset(stream)
	}
}
