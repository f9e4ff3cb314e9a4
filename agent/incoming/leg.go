//go:build linux

package incoming

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"

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

	mu sync.Mutex
	// turn is the request that is answered, nil when there is none.
	turn *turn
	// over says that nothing more comes of it.
	over bool
}

// newLeg starts to pass on what conn says. free is called when nothing of it is read any more.
func (v *conversation) newLeg(conn splice.Conn, free func()) *leg {
	l := &leg{conversation: v, conn: conn}
	l.in.src, l.in.buffers = conn, v.memory.buffers
	v.others.Go(func() {
		defer free()
		defer l.in.free()
		l.run()
	})
	return l
}

// toTarget returns the connection to the target, made if need be.
func (v *conversation) toTarget() (*leg, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.target != nil && !v.target.isOver() {
		return v.target, nil
	}
	conn, err := v.dial(v.life)
	if err != nil {
		return nil, err
	}
	if v.dead {
		splice.Reset(conn)
		return nil, errOver
	}
	v.target = v.newLeg(conn, conn.free)
	return v.target, nil
}

// expect says that a request is answered next, and whether that can still be.
func (l *leg) expect(t *turn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.turn = t
	return true
}

func (l *leg) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// finish takes the leg out of use, and returns the request that it should have answered and whether it was in use.
func (l *leg) finish() (t *turn, used bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, used = l.turn, !l.over
	l.turn, l.over = nil, true
	return t, used
}

// withdraw ends a leg that nothing was said on. It returns false when something was.
func (l *leg) withdraw() bool {
	if l.raw.Load() != nil {
		return false
	}
	l.finish()
	_ = l.conn.CloseWrite()
	splice.Reset(l.conn)
	return true
}

// run passes on what comes until it ends.
func (l *leg) run() {
	for {
		if err := l.in.fill(); err != nil {
			l.ended(err)
			return
		}
		turn := l.answering()
		if turn == nil {
			// It speaks first, or says why it ends, or is of another protocol.
			if !l.asked.Load() && !bytes.HasPrefix(l.in.bytes(), []byte("HTTP/1.")) {
				l.tellUnread(wire.UnreadServer)
			}
			l.passRaw()
			return
		}
		end, err := l.respond(&l.in, turn.method, func() { l.raw.Store(&rawParty{l.conn}) })
		if err != nil {
			l.ended(err)
			return
		}
		if end == odd || end == switched {
			if end == odd {
				l.tellUnread(wire.UnreadOdd)
			}
			l.passRaw()
			return
		}
		l.expect(nil)
		turn.finish()
	}
}

func (l *leg) answering() *turn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turn
}

// ended passes the end on, unless a debuggee answered last: then the client has nothing to do with it.
func (l *leg) ended(err error) {
	turn, used := l.finish()
	switch {
	case !used || turn == nil && l.elsewhere.Load():
		_ = l.conn.Close()
		return
	case errors.Is(err, io.EOF):
		l.raw.Store(&rawParty{l.conn})
		l.closeWrite()
	default:
		l.reset()
	}
	if turn != nil {
		turn.finish()
	}
}

// passRaw passes on whatever comes.
func (l *leg) passRaw() {
	l.raw.Store(&rawParty{l.conn})
	if turn := l.answering(); turn != nil {
		l.expect(nil)
		turn.finish()
	}
	l.ended(l.in.rest(l.toClient))
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

// respond passes one response on to the client, and the interim ones before it. switches is called before the client
// learns that the protocol is another one from here on. On odd, nothing of the odd part was passed on yet.
func (v *conversation) respond(in *inbox, method string, switches func()) (ending, error) {
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
		if res.Switched {
			switches()
			return switched, nil
		}
		scanner := res.Body.Scanner()
		n, done, err := scanner.Take(in.bytes()[len(res.Raw):])
		n += len(res.Raw)
		interim, final := res.Interim, answered
		if res.Close || res.Body.Kind == http1.UntilClose {
			final = last
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
			err = in.body(scanner, v.toClient)
			if errors.Is(err, http1.ErrOdd) {
				return odd, nil
			}
			if err != nil && res.Body.Kind == http1.UntilClose && errors.Is(err, io.EOF) {
				return last, nil
			}
		}
		return final, err
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
	stream := v.stream
	v.mu.Unlock()
	if was {
		return
	}
	splice.Reset(v.client.conn)
	for _, l := range legs {
		if l != nil {
			splice.Reset(l.conn)
		}
	}
	if stream != nil {
		splice.Reset(stream)
	}
}
