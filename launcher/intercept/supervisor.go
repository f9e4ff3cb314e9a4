//go:build linux

package intercept

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"podstep.dev/internal/splice"
)

// Supervisor answers for one debuggee.
type Supervisor struct {
	opts Options
}

// New makes a supervisor. Close ends it.
func New(opts Options) (*Supervisor, error) {
	if opts.Link == nil {
		return nil, errors.New("intercept without a link")
	}
	return &Supervisor{opts: opts}, nil
}

// Serve answers the notifications of one filter until no task is left below it, ctx ends or Close is called.
// It owns listener.
func (s *Supervisor) Serve(ctx context.Context, listener *os.File, scope Scope) error {
	return errors.ErrUnsupported
}

// Deliver connects to the debuggee's listener for port, the one that the debuggee asked for.
func (s *Supervisor) Deliver(ctx context.Context, port uint16, from, to netip.AddrPort) (splice.Conn, error) {
	return nil, errors.ErrUnsupported
}

// Close ends everything.
func (s *Supervisor) Close() error { return nil }
