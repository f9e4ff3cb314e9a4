package borrow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/wire"
)

// subscription is one port of a link.
type subscription struct {
	// done is closed when the agent has answered; what follows is not written after that.
	done chan struct{}
	id   uint64
	err  error
}

// listening hears of every port that the debuggee serves. Without configured ports each is a subscription; one that is
// refused ends the borrow, because a session that gets no traffic in silence is worse than none.
func (b *Borrow) listening(ctx context.Context, port uint16) {
	if b.mirror.Incoming.Mode == config.ModeOff {
		return
	}
	if b.mirror.Incoming.Ports != nil {
		if !slices.Contains(slices.Collect(maps.Values(b.mirror.Incoming.Ports)), port) {
			b.say(fmt.Sprintf("the program listens on port %d, which \"ports\" does not name: it stays local", port))
		}
		return
	}
	links, known := b.want(port)
	if known {
		return
	}
	var group errgroup.Group
	for _, l := range links {
		group.Go(func() error { return l.subscribe(ctx, port) })
	}
	switch err := group.Wait(); {
	case ctx.Err() != nil:
	case err != nil:
		b.end(err)
	default:
		b.sayPort(port)
	}
}

// sayPort tells the person of a subscription.
func (b *Borrow) sayPort(port uint16) {
	local, _ := b.tunnel.Port(port)
	b.say(fmt.Sprintf("%s port %d of %s to port %d of the program", verb(b.mirror.Incoming.Mode), port, b.target, local))
	b.sayExisting(b.existing.sum(port), port, "")
}

// verb is what the session does with incoming traffic.
func verb(mode string) string {
	if mode == config.ModeSteal {
		return "stealing"
	}
	return "mirroring"
}

// act is what the session does with a place.
func act(mode string) string {
	switch mode {
	case config.ModeSteal:
		return "stealing from"
	case config.ModeMirror:
		return "mirroring"
	}
	return "attached to"
}

// subscribeAll asks for ports at once and returns when all are answered: the first refusal, a *fault.Fault.
func (l *link) subscribeAll(ports []uint16) error {
	var group errgroup.Group
	for _, port := range ports {
		group.Go(func() error { return l.subscribe(l.ctx, port) })
	}
	return group.Wait()
}

// subscribe asks for one port of the target, once. It returns a refusal as a *fault.Fault, and nil when the link ends
// meanwhile: whoever keeps the link asks again.
func (l *link) subscribe(ctx context.Context, port uint16) error {
	l.mu.Lock()
	s, known := l.subscriptions[port]
	if !known {
		if l.released || l.borrow.questions.hasGiven(port) {
			l.mu.Unlock()
			return nil
		}
		s = &subscription{done: make(chan struct{})}
		l.subscriptions[port] = s
		l.group.Go(func() { l.ask(port, s) })
	}
	l.mu.Unlock()
	select {
	case <-s.done:
		return s.err
	case <-l.ctx.Done():
		return nil
	case <-ctx.Done():
		return nil
	}
}

// ask makes the call for s.
func (l *link) ask(port uint16, s *subscription) {
	params := l.params(port)
	var granted wire.Subscription
	err := l.understands(params)
	if err == nil {
		granted, err = l.control.Subscribe(l.ctx, params)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(s.done)
	s.id = granted.ID
	if err != nil {
		delete(l.subscriptions, port)
		if l.ctx.Err() == nil {
			s.err = l.subscribeFault(port, err)
		}
		return
	}
	l.hearExisting(port, granted)
}

func (l *link) subscribeFault(port uint16, err error) *fault.Fault {
	var refusal *wire.Refusal
	if errors.As(err, &refusal) && refusal.Reason == wire.ReasonTaken {
		taken := fault.New(fault.PortTaken, fmt.Sprintf("cannot steal port %d of %s", port, l.place), err)
		taken.Hint = l.borrow.askHint(port, taken.Advice())
		return taken
	}
	if refusal != nil && refusal.Reason == wire.ReasonTLS {
		return fault.New(fault.TLSUnusable, fmt.Sprintf("cannot take the TLS off port %d of %s", port, l.place), err)
	}
	return fault.Or(err, fault.SubscribeRefused, fmt.Sprintf("cannot %s port %d of %s", l.borrow.mirror.Incoming.Mode, port, l.place))
}

// release forgets the subscriptions, takes no further ones and returns the ids of those that were granted.
func (l *link) release() (ids []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	for _, s := range l.subscriptions {
		if s.id != 0 {
			ids = append(ids, s.id)
		}
	}
	clear(l.subscriptions)
	return ids
}

// ports lists those that are subscribed to.
func (l *link) ports() (ports []uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for port, s := range l.subscriptions {
		if s.id != 0 {
			ports = append(ports, port)
		}
	}
	return ports
}
