package launcher

import (
	"context"
	"net/netip"

	"go.uber.org/zap"

	"podstep.dev/launcher/intercept"
	"podstep.dev/launcher/rules"
)

// Plan is what a debuggee is given. It travels as JSON to the launcher's parent half.
type Plan struct {
	// Hostname is what the debuggee sees as its own. If empty, the workstation's.
	Hostname string `json:"hostname,omitempty"`
	// Addresses are the target's own.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Rules say what is the target's and what stays local.
	Rules rules.Config `json:"rules"`
	// Env is set in the debuggee before its exec, on top of what it inherits.
	Env map[string]string `json:"env,omitempty"`
}

// Options of Listen. Link is required.
type Options struct {
	// Log receives the launcher's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Plan is what every debuggee is given.
	Plan Plan
	// Link reaches the target. Its errors carry the errno that the debuggee gets.
	Link intercept.Link
	// Listening is told of every port that a debuggee serves, before its listen() returns. If nil, nothing is told.
	Listening func(ctx context.Context, port uint16)
	// Started is told of every process that runs under interception, before its exec. If nil, nothing is told.
	Started func(pid int)
}

// How says in which way [Host.Command] runs a program. The zero value intercepts it and everything below it.
type How struct {
	// Traced intercepts only what the program traces by ptrace when it execs, and everything below that: the program
	// is a debugger such as dlv.
	Traced bool
	// NoEnv leaves the environment as it is inherited.
	NoEnv bool
}
