//go:build linux

package agent

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent/incoming"
	"podstep.dev/internal/wire"
)

// calls answers the control methods.
type calls struct{ *session }

// Describe tells what a process in the target sees.
func (c calls) Describe(_ context.Context, p wire.DescribeParams) (wire.Description, error) {
	return c.agent.opts.Target.Describe(p.Environment)
}

// Subscribe begins a subscription.
func (c calls) Subscribe(ctx context.Context, p wire.SubscribeParams) (wire.Subscription, error) {
	if err := c.allowed(p); err != nil {
		return wire.Subscription{}, err
	}
	sub, err := c.subscribe(ctx, p)
	c.agent.opts.Changed(c.agent)
	if err != nil || p.Mode != wire.ModeSteal {
		return sub, err
	}
	if p.Existing == wire.ExistingReset {
		c.resetExisting(ctx, p, &sub)
		return sub, nil
	}
	// Not under the lock: a pod may have many connections, and those who tell of losses wait for it.
	if sub.Existing, err = incoming.Existing(p.Port); err != nil {
		c.log.Debug("existing connections", zap.Error(err))
	}
	return sub, nil
}

// resetExisting has clients whose connections were made before connect again.
func (c calls) resetExisting(ctx context.Context, p wire.SubscribeParams, sub *wire.Subscription) {
	n, err := c.incoming.ResetExisting(ctx, p)
	sub.Reset = n
	if err != nil {
		sub.Kept = err.Error()
		c.log.Warn("reset existing connections", zap.Uint16("port", p.Port), zap.Error(err))
	}
	if sub.Existing, err = incoming.Existing(p.Port); err != nil {
		c.log.Debug("existing connections", zap.Error(err))
	}
	if sub.Existing > 0 && sub.Kept == "" {
		sub.Kept = "they were made while others were reset"
	}
}

// subscribe begins a subscription and notes it before it can end.
func (c calls) subscribe(ctx context.Context, p wire.SubscribeParams) (wire.Subscription, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sub, err := c.incoming.Subscribe(ctx, p)
	if err == nil {
		c.held = append(c.held, held{sub.ID, p.WithoutSecrets()})
	}
	return sub, err
}

// allowed refuses what the link or the target's owners do not allow.
func (c calls) allowed(p wire.SubscribeParams) error {
	if !c.counts() {
		return &wire.Refusal{Errno: syscall.EPERM, Text: fmt.Sprintf("subscribe to port %d: the link names no session", p.Port)}
	}
	if p.Mode != wire.ModeSteal {
		return nil
	}
	switch policy := c.agent.opts.Steal; policy {
	case StealAllow:
		return nil
	case StealFilteredOnly:
		if len(p.Filter) > 0 {
			return nil
		}
		return denied(p.Port, policy, "allows only steals with a filter, and this one has none")
	default:
		return denied(p.Port, policy, "allows none")
	}
}

func denied(port uint16, policy Steal, says string) *wire.Refusal {
	return &wire.Refusal{
		Errno: syscall.EPERM, Reason: wire.ReasonDenied,
		Text: fmt.Sprintf("steal port %d: the annotation podstep.dev/steal: %s of the target's namespace, workload or pod %s", port, policy, says),
	}
}

// Unsubscribe ends one.
func (c calls) Unsubscribe(ctx context.Context, p wire.UnsubscribeParams) error {
	c.drop(p.ID)
	return c.incoming.Unsubscribe(ctx, p)
}

// Paused notes whether the debugger is stopped.
func (c calls) Paused(_ context.Context, p wire.PausedParams) error {
	c.mu.Lock()
	switch {
	case !p.Paused:
		c.pausedSince = time.Time{}
	case c.pausedSince.IsZero():
		c.pausedSince = time.Now().UTC().Truncate(time.Second)
	}
	c.incoming.SetPaused(c.pausedSince)
	c.mu.Unlock()
	c.agent.opts.Changed(c.agent)
	return nil
}

// Patience notes how long the adapter may take.
func (c calls) Patience(_ context.Context, p wire.PatienceParams) error {
	if p.Hold < 0 {
		return &wire.Refusal{Errno: syscall.EINVAL, Text: fmt.Sprintf("patience: %d seconds", p.Hold)}
	}
	c.incoming.SetPatience(time.Duration(p.Hold) * time.Second)
	return nil
}

// Leave notes the farewell.
func (c calls) Leave(_ context.Context, p wire.LeaveParams) error {
	if p.Linger < 0 {
		return &wire.Refusal{Errno: syscall.EINVAL, Text: fmt.Sprintf("leave: linger of %d seconds", p.Linger)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.farewell = &p
	return nil
}

// Sessions lists all sessions of the agent.
func (c calls) Sessions(context.Context) (wire.Sessions, error) { return c.agent.Sessions(), nil }

// drop forgets a subscription that ended.
func (s *session) drop(id uint64) {
	s.mu.Lock()
	s.held = slices.DeleteFunc(s.held, func(h held) bool { return h.id == id })
	s.mu.Unlock()
	s.agent.opts.Changed(s.agent)
}
