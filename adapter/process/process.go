// Package process reaches a target on this machine: it starts the agent in the namespaces of a process and hands out
// the link to it. It does not speak over the link, and it changes nothing of the process.
package process

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Provider starts agents beside processes of this machine, as any user who may enter them.
type Provider struct {
	// Log receives the provider's lines and, named "agent", the agent's own. If nil, nothing is logged.
	Log *zap.Logger
	// Agent is the path of the agent's program. If empty, podstep-agent is looked for beside this program, then on PATH.
	Agent string
}

func (p Provider) log() *zap.Logger {
	if p.Log == nil {
		return zap.NewNop()
	}
	return p.Log.Named("process")
}

// level is what the agent is to write: what would be logged, and errors in any case, for a fault.
func (p Provider) level() zapcore.Level {
	return min(zapcore.LevelOf(p.log().Core()), zapcore.ErrorLevel)
}
