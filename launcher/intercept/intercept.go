// Package intercept is the supervisor of a debuggee: it answers the debuggee's network system calls as the kernel of the
// pod would. It decides nothing: package rules says whose an address is, a Link reaches the pod, and every call that is
// none of the pod's business is continued by the kernel as if nothing had been.
//
// Nothing of it needs a privilege. It needs the permission to look into the debuggee (ptrace access mode, so with Yama
// the supervisor has to be an ancestor), and a kernel that seccomp.Probe has no complaint about.
package intercept

import (
	"context"
	"net/netip"

	"go.uber.org/zap"

	"podstep.dev/internal/splice"
	"podstep.dev/launcher/rules"
)

// Link is what the supervisor asks of the pod. Both return when the connection stands; their errors carry the errno that
// the debuggee is to see (errors.As with syscall.Errno), and one without an errno becomes EHOSTUNREACH.
type Link interface {
	// Dial connects to an address as the pod would. local is the dialler's own address there, or zero.
	Dial(ctx context.Context, to netip.AddrPort) (conn splice.Conn, local netip.AddrPort, err error)
	// DNS opens a connection to the pod's resolver: messages behind two bytes of length (RFC 1035 §4.2.2), answered in
	// the order asked as far as the supervisor is concerned: it asks one thing at a time on each.
	DNS(ctx context.Context) (splice.Conn, error)
}

// Options of a Supervisor. Link is required.
type Options struct {
	// Log receives the supervisor's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Rules say whose an address is. The zero Rules leave everything to this machine.
	Rules rules.Rules
	// Hostname is what uname tells. If empty, this machine's.
	Hostname string
	// Addresses are the target's own. A bind to one of them means a bind to any, and a socket that is connected through
	// the pod shows the first one of its family until the pod has told better.
	Addresses []netip.Addr
	// Link reaches the pod.
	Link Link
	// Listening is told of every TCP listener of the debuggee that others may reach, which a loopback-only one is not.
	// port is the one the debuggee asked for. The debuggee's listen() returns after Listening does, or after 2 s.
	// If nil, nothing is told.
	Listening func(ctx context.Context, port uint16)
}

// Scope says which of the tasks below a filter are intercepted.
type Scope int

const (
	// All : every task below the filter.
	All Scope = iota
	// Traced : the filter sits above a ptrace debugger. Only a process that is traced when it calls exec is
	// intercepted, and all its descendants, also those whose parents are gone.
	Traced
)
