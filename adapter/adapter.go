// Package adapter is one debug session: the editor on one side, the wrapped debugger on the other, and the borrow of a target beside them.
// session*.go decide what happens and do nothing; Serve owns and does everything. What the target is and how the debuggee is intercepted
// is behind the interfaces below.
package adapter

import (
	"context"
	"encoding/json"

	"go.uber.org/zap"

	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/adapter/debugger"
	"podstep.dev/launcher"
)

// Borrow is everything of a session that is not the debugger: the agent, the interception, the incoming connections.
type Borrow interface {
	// Command prefixes argv so that it runs intercepted. traced: argv is a debugger, only what it traces is intercepted.
	Command(argv []string, traced bool) []string
	// Env is the part of the target's environment that the debuggee gets.
	Env() map[string]string
	// SessionDir is a directory of this session alone; it goes with the session, however that ends.
	SessionDir() string
	// SetPaused says whether the debuggee is stopped by the debugger. It does not block.
	SetPaused(paused bool)
	// Done is closed when the borrow ended by itself: the link was lost, the target is gone.
	Done() <-chan struct{}
	// Err says why, as a *fault.Fault.
	Err() error
	// Close gives everything back.
	Close() error
}

// Wish is what a launch configuration says of the borrow.
type Wish struct {
	// Mirror is the "mirror" block as it was written.
	Mirror json.RawMessage
	// OwnEnv names the variables that the person sets for the debuggee: the target's do not replace them.
	OwnEnv []string
	// Say shows a line of progress to the person. It may be called until the borrow's Close has returned.
	Say func(string)
	// Held is told of each request that a rule holds, and again when that is over with how it went on. It may be called as long as
	// Say.
	Held func(tunnel.Held, tunnel.Release)
	// Asked tells of somebody who asks the session to give stolen ports back. It may be called as long as Say.
	Asked func(borrow.Question)
}

// Options of Serve. Begin is required.
type Options struct {
	// Log receives the session's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Debugger names the debugger before the launch configuration does ("dlv", or a type: "go"), and when that does not. If empty, the
	// adapterID of initialize is asked.
	Debugger string
	// Environ is the environment of debuggers and builds. If nil, os.Environ().
	Environ []string
	// MaxMessage bounds one message, in bytes. If zero, dap.DefaultMax.
	MaxMessage int
	// Begin borrows. Errors are *fault.Fault. It undoes what it began when it fails or ctx ends.
	Begin func(ctx context.Context, w Wish) (Borrow, error)
	// Start starts a debugger below the keeper. If nil, launcher.Start.
	Start func(ctx context.Context, p launcher.Process) (Tree, error)
}

// choice is what the session found in a launch configuration.
type choice struct {
	debugger   debugger.Debugger
	attributes debugger.Attributes // without podstep's own
	mirror     json.RawMessage
}
