package borrow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/wire"
)

const (
	// yielding bounds what is said to the agents when ports are given back: somebody waits for it.
	yielding = 5 * time.Second
	// maxQuestions bounds how many questions are open at once; the oldest is forgotten, and whoever asked hears of nobody.
	maxQuestions = 32
)

// Question is somebody's who asks the session to give ports back.
type Question struct {
	// ID numbers the session's questions.
	ID uint64 `json:"id"`
	// Name is who asks, by their own word.
	Name    string `json:"name"`
	Message string `json:"message,omitempty"`
	// Target is the session's, Ports are its stolen ones that are asked for.
	Target string   `json:"target"`
	Ports  []uint16 `json:"ports"`
	// Wait is how many seconds the answer is waited for.
	Wait int `json:"wait"`
}

// String is the question for the person, on one line.
func (q Question) String() string {
	line := fmt.Sprintf("%s asks you to release %s of %s (waiting %d s)", q.Name, place.PortWords(q.Ports), q.Target, q.Wait)
	if q.Message != "" {
		line += ": " + q.Message
	}
	return line
}

// questions are those that the session was asked, and what it gave back. Its lock is taken last.
type questions struct {
	mu   sync.Mutex
	last uint64
	open []openQuestion
	// yielded are the ports that were given back: nothing subscribes to them again.
	yielded map[uint16]bool
}

// openQuestion is one that nobody has answered.
type openQuestion struct {
	Question
	link     *link
	id       uint64 // the agent's
	deadline time.Time
}

// add notes a question.
func (q *questions) add(l *link, p wire.AskedParams, asked Question, now time.Time) Question {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	asked.ID = q.last
	q.open = slices.DeleteFunc(q.open, func(o openQuestion) bool { return now.After(o.deadline) })
	if len(q.open) == maxQuestions {
		q.open = slices.Delete(q.open, 0, 1)
	}
	q.open = append(q.open, openQuestion{asked, l, p.ID, now.Add(time.Duration(asked.Wait) * time.Second)})
	return asked
}

// settle takes the questions that are answered.
func (q *questions) settle(answered func(openQuestion) bool) (settled []openQuestion) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open = slices.DeleteFunc(q.open, func(o openQuestion) bool {
		if !answered(o) {
			return false
		}
		settled = append(settled, o)
		return true
	})
	return settled
}

// gave notes what is given back.
func (q *questions) gave(ports []uint16) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.yielded == nil {
		q.yielded = map[uint16]bool{}
	}
	for _, p := range ports {
		q.yielded[p] = true
	}
}

// hasGiven says whether a port was given back.
func (q *questions) hasGiven(port uint16) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.yielded[port]
}

// given lists what was given back.
func (q *questions) given() []uint16 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Sorted(maps.Keys(q.yielded))
}

// Asked : somebody asks for ports. What the agent says of them is somebody else's word.
func (n notices) Asked(p wire.AskedParams) {
	b := n.borrow
	q := Question{
		Name: wire.Plain(p.Name, wire.MaxName), Message: wire.Plain(p.Message, wire.MaxMessage), Target: b.target.String(),
		Ports: b.wanted(), Wait: min(max(p.Wait, 1), wire.MaxWait),
	}
	if p.Port != 0 {
		q.Ports = []uint16{p.Port}
	}
	if q.Name == "" {
		q.Name = "somebody"
	}
	q = b.questions.add(n.link, p, q, time.Now())
	n.log.Info("asked for ports", zap.String("by", q.Name), zap.Uint16s("ports", q.Ports))
	if b.opts.Asked != nil {
		b.opts.Asked(q)
		return
	}
	b.say(q.String() + "; yes: podstep yield, no: podstep yield --keep")
}

// Yield gives stolen ports back, all that the session steals if none is named: the target answers them again, and whoever asked for them is
// told. What came before goes on, and so does the rest of the session. It returns the ports that it gave back.
func (b *Borrow) Yield(ctx context.Context, ports []uint16) ([]uint16, error) {
	ports, err := b.yield(ctx, ports, "given back")
	if err == nil {
		b.say(fmt.Sprintf("released %s of %s: the target answers; to steal again, start the session again", place.PortWords(ports), b.target))
	}
	return ports, err
}

// GiveBack gives all stolen ports back, while what else the session has goes on to its end. Nobody is told but the agents: Close follows.
func (b *Borrow) GiveBack(ctx context.Context) {
	b.tunnel.End()
	// The session may be over first: its end is no reason to leave the agents in the dark.
	_, err := b.release(context.WithoutCancel(ctx), nil, (*link).giveBack)
	if err != nil {
		b.log.Debug("give back", zap.Error(err))
	}
}

// Keep answers no: to one question, or to all that are open if id is 0. It returns how many that were.
func (b *Borrow) Keep(ctx context.Context, id uint64) int {
	settled := b.questions.settle(func(o openQuestion) bool { return id == 0 || o.ID == id })
	b.answer(ctx, settled, false)
	return len(settled)
}

// yield gives ports back and says in the places' records why.
func (b *Borrow) yield(ctx context.Context, ports []uint16, why string) ([]uint16, error) {
	return b.release(ctx, ports, func(l *link, ctx context.Context, ports []uint16) { l.yield(ctx, ports, why) })
}

// release has every link give ports back, and answers who asked for them.
func (b *Borrow) release(ctx context.Context, ports []uint16, give func(*link, context.Context, []uint16)) ([]uint16, error) {
	if b.mirror.Incoming.Mode != config.ModeSteal {
		return nil, fmt.Errorf("the session of %s steals nothing", b.target)
	}
	ports, links, err := b.unwant(ports)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, yielding)
	defer cancel()
	var group sync.WaitGroup
	for _, l := range links {
		group.Go(func() { give(l, ctx, ports) })
	}
	group.Wait()
	left := b.wanted()
	b.answer(ctx, b.questions.settle(func(o openQuestion) bool {
		return !slices.ContainsFunc(o.Ports, func(p uint16) bool { return slices.Contains(left, p) })
	}), true)
	return ports, nil
}

// unwant takes ports from those that every link subscribes to, and returns them with the links that have to be told.
func (b *Borrow) unwant(ports []uint16) ([]uint16, []*link, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(ports) == 0 {
		ports = slices.Clone(b.ports)
	}
	for _, p := range ports {
		if !slices.Contains(b.ports, p) {
			return nil, nil, fmt.Errorf("the session does not steal port %d of %s", p, b.target)
		}
	}
	if len(ports) == 0 {
		return nil, nil, fmt.Errorf("the session steals no port of %s at this moment", b.target)
	}
	// Before the links are told: whoever subscribes after that sees it.
	b.questions.gave(ports)
	b.ports = slices.DeleteFunc(slices.Clone(b.ports), func(p uint16) bool { return slices.Contains(ports, p) })
	b.changeLocked()
	return ports, b.links, nil
}

// answer tells who asked.
func (b *Borrow) answer(ctx context.Context, settled []openQuestion, released bool) {
	ctx, cancel := context.WithTimeout(ctx, yielding)
	defer cancel()
	var group sync.WaitGroup
	for _, o := range settled {
		group.Go(func() {
			if err := o.link.control.Answer(ctx, wire.AnswerParams{ID: o.id, Released: released}); err != nil {
				o.link.log.Debug("answer who asks", zap.Error(err))
			}
		})
	}
	group.Wait()
}

// yield ends the link's subscriptions to ports. When the agent does not do it in time, it does with the link, which is made again without them.
func (l *link) yield(ctx context.Context, ports []uint16, why string) {
	var gone []uint16
	for _, port := range ports {
		had, err := l.unsubscribe(ctx, port)
		if err != nil && l.ctx.Err() == nil {
			l.log.Warn("a port could not be released but by the end of the link", zap.Uint16("port", port), zap.Error(err))
			l.end(fmt.Errorf("release port %d: %w", port, err))
		}
		if had {
			gone = append(gone, port)
		}
	}
	if w, ok := l.place.(place.Witness); ok && len(gone) > 0 {
		w.Yielded(gone, why)
	}
}

// giveBack ends the link's subscriptions to ports; that it ends soon makes good what the agent does not do in time.
func (l *link) giveBack(ctx context.Context, ports []uint16) {
	for _, port := range ports {
		if _, err := l.unsubscribe(ctx, port); err != nil && l.ctx.Err() == nil {
			l.log.Debug("a port could not be given back; the end of the link follows", zap.Uint16("port", port), zap.Error(err))
		}
	}
}

// unsubscribe ends the subscription to a port, and says whether there was one.
func (l *link) unsubscribe(ctx context.Context, port uint16) (had bool, err error) {
	l.mu.Lock()
	s := l.subscriptions[port]
	l.mu.Unlock()
	if s == nil {
		return false, nil
	}
	select {
	case <-s.done:
	case <-l.ctx.Done():
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	id := l.forget(port, s)
	if id == 0 {
		return false, nil
	}
	err = l.control.Unsubscribe(ctx, wire.UnsubscribeParams{ID: id})
	if errors.Is(err, syscall.ENOENT) { // it has ended by itself
		err = nil
	}
	return true, err
}

// forget takes a subscription out, and returns the agent's id of it: 0 if it has none, or if somebody else took it.
func (l *link) forget(port uint16, s *subscription) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.subscriptions[port] != s {
		return 0
	}
	delete(l.subscriptions, port)
	return s.id
}
