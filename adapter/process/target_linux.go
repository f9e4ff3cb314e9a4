package process

import (
	"context"

	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
)

// Find looks at the process that m names and keeps it from becoming another one until the target is closed. Errors are
// *fault.Fault: BadConfig, NoTarget, TargetForbidden, TargetShared.
func (p Provider) Find(_ context.Context, m config.Mirror, say func(string)) (place.Target, error) {
	target, err := config.ParseTarget(m.Target)
	if err != nil {
		return nil, err
	}
	if target.InCluster() {
		return nil, fault.New(fault.BadConfig, target.String()+" is no process of this machine", nil)
	}
	held, err := hold(target)
	if err != nil {
		return nil, err
	}
	return &one{provider: p, target: target, held: held, say: say}, nil
}

// one is a process, as target and as the target's only place. It has one goroutine, which ends with the context of Places.
type one struct {
	provider Provider
	target   config.Target
	held     *heldTarget
	say      func(string)
}

// Places sends the process and then waits for the end of ctx: the agent tells when the process has ended.
func (o *one) Places(ctx context.Context) <-chan []place.Place {
	sets := make(chan []place.Place, 1)
	sets <- []place.Place{o}
	context.AfterFunc(ctx, func() { close(sets) })
	return sets
}

// Err is nil: the channel of Places ends only with its context.
func (o *one) Err() error { return nil }

// Close lets go of the process.
func (o *one) Close() error { return o.held.Close() }

// ID is that of the target: it is held.
func (o *one) ID() string { return o.String() }

func (o *one) String() string { return o.target.String() }

// Lasting is false: the agent was a child of this process and is over when its link is.
func (o *one) Lasting() bool { return false }

// Incoming has nothing special.
func (o *one) Incoming() place.Incoming { return place.Incoming{} }
