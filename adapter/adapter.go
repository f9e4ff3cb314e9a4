// Package adapter is one debug session: the editor on one side, the wrapped debugger on the other, and the borrow of a target beside them.
// session*.go decide what happens and do nothing; Serve owns and does everything. What the target is and how the debuggee is intercepted
// is behind the interfaces below.
package adapter

import (
	"context"
	"encoding/json"
	"os"

	"go.uber.org/zap"

	"podstep.dev/adapter/debugger"
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

// Process is a program to start below the keeper. The files are the process's own ends; whoever starts it keeps the caller's open.
type Process struct {
	Argv                  []string
	Env                   []string
	Dir                   string
	Stdin, Stdout, Stderr *os.File
	SessionDir            string
}

// Tree is a started Process with everything that comes of it.
type Tree interface {
	// Wait returns when the process itself is over, with nil when it exited with 0. It may be called once.
	Wait() error
	// Kill ends the whole tree and waits for it. It may be called more than once.
	Kill() error
}

// Options of Serve. Begin and Start are required.
type Options struct {
	// Log receives the session's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Debugger names the debugger when the editor's initialize cannot ("dlv", "debugpy"). If empty, the adapterID is asked.
	Debugger string
	// Environ is the environment of debuggers and builds. If nil, os.Environ().
	Environ []string
	// MaxMessage bounds one message, in bytes. If zero, dap.DefaultMax.
	MaxMessage int
	// Begin borrows: mirror is the "mirror" block as it was written. say shows progress. Errors are *fault.Fault. It undoes what it began
	// when it fails or ctx ends.
	Begin func(ctx context.Context, mirror json.RawMessage, say func(string)) (Borrow, error)
	// Start starts a process below the keeper.
	Start func(ctx context.Context, p Process) (Tree, error)
}

// choice is what the session found in a launch configuration.
type choice struct {
	debugger   debugger.Debugger
	attributes debugger.Attributes // without podstep's own
	mirror     json.RawMessage
}
