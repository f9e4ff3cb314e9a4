package tunnel

import (
	"context"
	"time"
)

// probePatience is for the debuggee's answer to a probe, which a thread at a breakpoint may have while the others run; then the target
// answers. It is below what a kubelet waits by default (1 s, timeoutSeconds of a container's probe).
const probePatience = 700 * time.Millisecond

// watchProbe calls stopped when the debugger stops or the debuggee takes too long, unless ctx ends first.
func (g *gate) watchProbe(ctx context.Context, stopped func()) {
	timer := time.NewTimer(probePatience)
	defer timer.Stop()
	for {
		now, changed := g.now()
		if now {
			stopped()
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			stopped()
			return
		case <-ctx.Done():
			return
		}
	}
}
