// Package doctor runs checks, all of them at once, and hands over their findings in order. It has the checks of the workstation;
// those of a cluster are in adapter/cluster/checkup.
package doctor

import (
	"context"
	"fmt"
	"time"
)

// State is how a check ended.
type State string

// The states.
const (
	OK State = "ok"
	// Warn is something that only some sessions need, or that makes them worse.
	Warn State = "warn"
	// Fail is something without which no session works.
	Fail State = "fail"
	// Skip was not looked at, because of what another check found.
	Skip State = "skip"
)

// Finding is what a check found.
type Finding struct {
	State State `json:"state"`
	// Found is one line.
	Found string `json:"found"`
	// Do is what to do about it, empty when there is nothing to do.
	Do string `json:"do,omitempty"`
	// Ask is what an administrator of the cluster is to be asked for, empty when nobody is.
	Ask string `json:"ask,omitempty"`
}

// Check is one line of the doctor's.
type Check struct {
	// Group is the heading that it stands under: "workstation".
	Group string
	// Name is what is looked at: "kernel".
	Name string
	// Limit bounds it. Zero means defaultLimit.
	Limit time.Duration
	// Run looks. It returns when ctx ends.
	Run func(ctx context.Context) Finding
}

const (
	defaultLimit = 20 * time.Second
	// patience is how long a person waits without being told for what.
	patience = time.Second
)

// Run runs the checks at the same time and calls found with each in their order, and waiting once before one that takes long.
// Its goroutines, one for each check, have ended when it returns.
func Run(ctx context.Context, checks []Check, waiting func(Check), found func(Check, Finding)) {
	findings := make([]chan Finding, len(checks))
	for i, c := range checks {
		findings[i] = make(chan Finding, 1)
		go func() { findings[i] <- c.run(ctx) }()
	}
	for i, c := range checks {
		slow := time.NewTimer(patience)
		select {
		case f := <-findings[i]:
			found(c, f)
		case <-slow.C:
			waiting(c)
			found(c, <-findings[i])
		}
		slow.Stop()
	}
}

// run runs the check within its limit.
func (c Check) run(ctx context.Context) Finding {
	limit := c.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s", limit))
	defer cancel()
	return c.Run(ctx)
}
