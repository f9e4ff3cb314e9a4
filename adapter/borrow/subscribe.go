package borrow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/wire"
)

// subscribeConfigured asks for the ports that the configuration names, all at once. Its error is a *fault.Fault.
func (b *Borrow) subscribeConfigured(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, port := range slices.Sorted(maps.Keys(b.mirror.Incoming.Ports)) {
		group.Go(func() error { return b.subscribe(ctx, port) })
	}
	return group.Wait()
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
	if err := b.subscribe(ctx, port); err != nil && ctx.Err() == nil {
		b.end(err)
	}
}

// subscribe asks for one port of the target, once. Its error is a *fault.Fault.
func (b *Borrow) subscribe(ctx context.Context, port uint16) error {
	b.mu.Lock()
	_, known := b.subscriptions[port]
	known = known || b.released
	if !known {
		b.subscriptions[port] = 0
	}
	b.mu.Unlock()
	if known {
		return nil
	}
	mode := wire.Mode(b.mirror.Incoming.Mode)
	granted, err := b.control.Subscribe(ctx, wire.SubscribeParams{Port: port, Mode: mode})
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		delete(b.subscriptions, port)
		return b.subscribeFault(port, err)
	}
	b.subscriptions[port] = granted.ID
	local, _ := b.tunnel.Port(port)
	verb := map[wire.Mode]string{wire.ModeSteal: "stealing", wire.ModeMirror: "mirroring"}[mode]
	b.say(fmt.Sprintf("%s port %d of %s to port %d of the program", verb, port, b.target, local))
	return nil
}

func (b *Borrow) subscribeFault(port uint16, err error) *fault.Fault {
	var refusal *wire.Refusal
	if errors.As(err, &refusal) && refusal.Reason == wire.ReasonTaken {
		return fault.New(fault.PortTaken, fmt.Sprintf("cannot steal port %d of %s", port, b.target), err)
	}
	return fault.New(fault.SubscribeRefused, fmt.Sprintf("cannot %s port %d of %s", b.mirror.Incoming.Mode, port, b.target), err)
}

// release ends the subscriptions: the target serves by itself again. What was delivered goes on. It returns within half
// a second; what an agent that does not answer holds is undone when the link ends.
func (b *Borrow) release() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), 500*time.Millisecond)
	defer cancel()
	b.mu.Lock()
	b.released = true
	ids := slices.Collect(maps.Values(b.subscriptions))
	clear(b.subscriptions)
	b.mu.Unlock()
	var group errgroup.Group
	for _, id := range ids {
		group.Go(func() error {
			if err := b.control.Unsubscribe(ctx, wire.UnsubscribeParams{ID: id}); err != nil {
				b.log.Debug("unsubscribe", zap.Error(err))
			}
			return nil
		})
	}
	_ = group.Wait()
}

// notices hears the agent. It must not block.
type notices struct{ *Borrow }

// Ended : the agent gave a subscription up.
func (n notices) Ended(p wire.EndedParams) {
	if errors.Is(&p.Refusal, syscall.ESRCH) {
		n.end(fault.New(fault.TargetGone, fmt.Sprintf("%s ended", n.target), nil))
		return
	}
	n.end(fault.New(fault.SubscribeRefused, fmt.Sprintf("the agent gave the traffic of %s up", n.target), &p.Refusal))
}

// Lost : a mirror could not deliver everything.
func (n notices) Lost(p wire.LostParams) {
	var parts []string
	if p.Packets > 0 {
		parts = append(parts, fmt.Sprintf("%d packets", p.Packets))
	}
	if p.Connections > 0 {
		parts = append(parts, fmt.Sprintf("%d connections", p.Connections))
	}
	n.say("the mirror lost " + strings.Join(parts, " and "))
}
