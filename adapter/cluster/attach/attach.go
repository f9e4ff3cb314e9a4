// Package attach gets an agent to run beside one container of a pod, and a connection to it: it reuses an agent that
// lives there, or starts one as an ephemeral container of the pod or as a job on its node, whichever the cluster allows. It
// knows nothing of workloads, and does not speak with the agent.
package attach

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/attach/exec"
	"podstep.dev/adapter/config"
)

// Instance is one start of a pod's container, the place where the debuggee's process would be.
type Instance struct {
	// Pod is as it was last seen. It is not changed.
	Pod *corev1.Pod
	// Container is the container's name.
	Container string
	// ID is the runtime's id of the running container, without "containerd://".
	ID string
	// Needs are what the session wants of the agent.
	Needs Needs
}

func (i Instance) String() string { return "pod/" + i.Pod.Name }

// Attacher attaches to the places of one session. Its fields are not changed after its first use, and it may be used by
// several goroutines.
type Attacher struct {
	// Cluster is where the places are. Required.
	Cluster *api.Cluster
	// Exec runs programs in it. Required.
	Exec *exec.Dialer
	// Log receives the attacher's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Say receives lines for the person. If nil, they are dropped.
	Say func(string)
	// Agent says how the agent gets there. Required: its zero value has no kind.
	Agent config.Agent
	// Image is the agent's image when Agent names none.
	Image string
	// Level is what agents started by this one log, in their container's log. If empty, "info".
	Level string

	mu sync.Mutex
	// jobs are those of agents that were joined.
	jobs map[agent]bool

	unrecorded sync.Once
}

// attempts bounds how often an agent that ended while it was being joined is replaced by another.
const attempts = 5

// errGone is wrapped by the errors of an agent that is not there any more.
var errGone = errors.New("it ended meanwhile")

// Attach returns the connection to an agent beside in, on which the agent has said its first byte. The caller closes it. ctx
// bounds only Attach. Errors are *fault.Fault; those that may go by themselves are place.Temporary.
func (a *Attacher) Attach(ctx context.Context, in Instance) (*Link, error) {
	var ended []string
	taken := false
	for range attempts {
		agent, err := a.living(ctx, in, ended, taken)
		if agent == nil && err == nil {
			agent, err = a.start(ctx, in)
		}
		var link *Link
		if err == nil {
			link, err = a.join(ctx, *agent)
		}
		switch {
		case err == nil:
			return link, nil
		case errors.Is(err, errTaken):
			a.log().Debug("another agent was there first", zap.Error(err))
			taken = true
		case errors.Is(err, errGone):
			a.log().Debug("the agent ended meanwhile", zap.Stringer("agent", agent), zap.Error(err))
			ended = append(ended, agent.name())
		default:
			return nil, err
		}
		if in, err = a.Refresh(ctx, in); err != nil {
			return nil, err
		}
	}
	return nil, a.takenFault(in)
}

func (a *Attacher) log() *zap.Logger {
	if a.Log == nil {
		return zap.NewNop()
	}
	return a.Log.Named("attach")
}

func (a *Attacher) say(format string, args ...any) {
	if a.Say != nil {
		a.Say(fmt.Sprintf(format, args...))
	}
}

// namespace is where the agent's own pod runs.
func (a *Attacher) namespace(in Instance) string {
	if a.Agent.Namespace != "" {
		return a.Agent.Namespace
	}
	return in.Pod.Namespace
}

func (a *Attacher) image() string {
	if a.Agent.Image != "" {
		return a.Agent.Image
	}
	return a.Image
}
