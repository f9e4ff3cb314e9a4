package tunnel

import (
	"context"
	"time"

	"podstep.dev/internal/mux"
)

// probePatience is for the debuggee's answer to a probe, which a thread at a breakpoint may have while the others run; then the target
// answers. It is below what a kubelet waits by default (1 s, timeoutSeconds of a container's probe).
const probePatience = 700 * time.Millisecond

// serveProbe serves a probe, which is the debuggee's only as long as the debugger is not stopped: at a breakpoint it is the target's, at once,
// so that nobody restarts the pod for it. No rule and no policy has it wait.
func (x *exchange) serveProbe(c *client, stream *mux.Stream) error {
	if stopped, _ := x.tunnel.gate.now(); stopped {
		x.refuse(stream, paused("the debugger is stopped, and this is a probe"))
		return nil
	}
	return x.deliver(c, stream)
}

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
