package attach

import (
	"context"

	"podstep.dev/adapter/config"
)

// Admits finds out whether an agent of a kind would be admitted beside in, without creating anything. Errors are those of Attach.
func (a *Attacher) Admits(ctx context.Context, in Instance, kind string) error {
	if kind == config.AgentJob {
		return a.tryJob(ctx, in)
	}
	return a.tryEphemeral(ctx, in, newName())
}
