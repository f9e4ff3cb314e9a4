//go:build linux

package agent

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"syscall"
	"time"

	"podstep.dev/internal/control"
	"podstep.dev/internal/wire"
)

// asks are the questions to sessions whether they give a port back. They force nobody. It has no goroutines.
type asks struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]asked
	// when says when somebody asked a session last.
	when map[asking]time.Time
}

// asked is a question that is open.
type asked struct {
	of    *session
	reply chan wire.Reply // has room for the one reply
}

// asking is somebody who asks a session. The name is their own word: the limit keeps a person from asking too often, and nobody who means ill.
type asking struct{ name, session string }

// begin notes a question, or refuses it when the same person asked the same session a moment ago.
func (a *asks) begin(name string, of *session, now time.Time) (id uint64, reply <-chan wire.Reply, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		a.open, a.when = map[uint64]asked{}, map[asking]time.Time{}
	}
	maps.DeleteFunc(a.when, func(_ asking, t time.Time) bool { return now.Sub(t) >= wire.AskEvery })
	who := asking{name, of.link.Peer.Session}
	if t, asked := a.when[who]; asked {
		left := (wire.AskEvery - now.Sub(t) + time.Second - 1).Truncate(time.Second)
		return 0, nil, &wire.Refusal{Errno: syscall.EAGAIN, Text: fmt.Sprintf("%s was asked a moment ago; ask again in %s", of.link.Peer.Holder, left)}
	}
	a.when[who] = now
	a.last++
	ch := make(chan wire.Reply, 1)
	a.open[a.last] = asked{of, ch}
	return a.last, ch, nil
}

// answer answers a question to a session, if it is open.
func (a *asks) answer(of *session, id uint64, r wire.Reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if q, open := a.open[id]; open && q.of == of {
		delete(a.open, id)
		q.reply <- r
	}
}

// over answers all that are open to a session, which has ended.
func (a *asks) over(of *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, q := range a.open {
		if q.of == of {
			delete(a.open, id)
			q.reply <- wire.ReplyEnded
		}
	}
}

// forget takes back a question that nobody waits for any more.
func (a *asks) forget(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, id)
}

// Ask asks another session to give a port back.
func (c calls) Ask(ctx context.Context, p wire.AskParams) (wire.AskResult, error) {
	none := wire.AskResult{Reply: wire.ReplyNone}
	of := c.agent.session(p.Session)
	switch {
	case of == nil:
		return none, &wire.Refusal{Errno: syscall.ESRCH, Text: "ask: there is no such session any more"}
	case !of.steals(p.Port):
		return none, &wire.Refusal{Errno: syscall.ENOENT, Text: fmt.Sprintf("ask: %s does not steal the port", of.link.Peer.Holder)}
	case p.Wait < 0 || p.Wait > wire.MaxWait:
		return none, &wire.Refusal{Errno: syscall.EINVAL, Text: fmt.Sprintf("ask: a wait of %d seconds is not between 1 and %d", p.Wait, wire.MaxWait)}
	case p.Wait == 0:
		p.Wait = wire.DefaultWait
	}
	name := wire.Plain(c.link.Peer.Holder, wire.MaxName)
	id, reply, err := c.agent.asks.begin(name, of, time.Now())
	if err != nil {
		return none, err
	}
	defer c.agent.asks.forget(id)
	notice := wire.AskedParams{ID: id, Name: name, Port: p.Port, Message: wire.Plain(p.Message, wire.MaxMessage), Wait: p.Wait}
	if !of.notify(func(s *control.Server) error { return s.Asked(of.telling, notice) }) {
		return none, &wire.Refusal{Errno: syscall.EAGAIN, Text: fmt.Sprintf("ask: %s cannot be told at this moment", of.link.Peer.Holder)}
	}
	timer := time.NewTimer(time.Duration(p.Wait) * time.Second)
	defer timer.Stop()
	select {
	case r := <-reply:
		return wire.AskResult{Reply: r}, nil
	case <-timer.C:
		return none, nil
	case <-c.link.Done():
		return none, nil
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// Answer takes the session's answer to one that asks.
func (c calls) Answer(_ context.Context, p wire.AnswerParams) error {
	r := wire.ReplyKept
	if p.Released {
		r = wire.ReplyReleased
	}
	c.agent.asks.answer(c.session, p.ID, r)
	return nil
}

// session finds one by its id, nil if there is none.
func (a *Agent) session(id string) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.sessions {
		if s.link.Peer.Session == id {
			return s
		}
	}
	return nil
}

// steals says whether the session steals a port, or any if that is 0.
func (s *session) steals(port uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.held {
		if h.Mode == wire.ModeSteal && (port == 0 || h.Port == port) {
			return true
		}
	}
	return false
}
