package launcher

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/splice"
	"podstep.dev/launcher/intercept"
	"podstep.dev/launcher/rules"
)

// seat is where the notifications of a launcher's tree are answered: in this process, for a launcher below it, or in
// the launcher's own parent half. Yama lets only an ancestor look into a process, so nobody else can.
type seat interface {
	// admit takes the launcher at conn, which has greeted, and returns when its tree has ended or ctx has. It owns conn.
	// The tree never outlives it.
	admit(ctx context.Context, conn *net.UnixConn, p peer, g greeting) error
	// Deliver connects to the debuggee's listener for port. ECONNREFUSED: there is none here.
	Deliver(ctx context.Context, port uint16, from, to netip.AddrPort) (splice.Conn, error)
	Close() error
}

// near is the seat in this process: one supervisor for all its launchers.
type near struct {
	log     *zap.Logger
	plan    Plan
	started func(pid int)
	*intercept.Supervisor
}

// newNear makes the seat. started may be nil.
func newNear(log *zap.Logger, opts Options) (*near, error) {
	parsed, err := rules.Parse(opts.Plan.Rules)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	supervisor, err := intercept.New(intercept.Options{
		Log:       log.Named("intercept"),
		Rules:     parsed,
		Hostname:  opts.Plan.Hostname,
		Addresses: opts.Plan.Addresses,
		Link:      opts.Link,
		Listening: opts.Listening,
	})
	if err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	return &near{log: log, plan: opts.Plan, started: opts.Started, Supervisor: supervisor}, nil
}

func (n *near) admit(ctx context.Context, conn *net.UnixConn, p peer, g greeting) error {
	listener, err := n.takeListener(ctx, conn, p)
	if err != nil {
		return err
	}
	scope := intercept.All
	if g.Traced {
		scope = intercept.Traced
	}
	n.log.Debug("debuggee", zap.Int("pid", p.pid), zap.Bool("traced", g.Traced))
	// Whatever the reason to stop answering, the debuggee does not run on with half a network.
	defer p.kill()
	if err := n.Serve(ctx, listener, scope); err != nil && ctx.Err() == nil {
		return fmt.Errorf("supervise process %d: %w", p.pid, err)
	}
	return nil
}

// takeListener is the seat's part of the dialogue in handover_linux.go.
func (n *near) takeListener(ctx context.Context, conn *net.UnixConn, p peer) (*os.File, error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(handoverPatience)); err != nil {
		return nil, fmt.Errorf("admit launcher: %w", err)
	}
	if err := writeMessage(conn, answer{Plan: n.plan}); err != nil {
		return nil, fmt.Errorf("admit launcher: %w", err)
	}
	fd, err := receiveDescriptor(conn)
	if err != nil {
		return nil, fmt.Errorf("admit launcher: %w", err)
	}
	if n.started != nil {
		n.started(p.pid)
	}
	if err := writeMessage(conn, verdict{}); err != nil {
		_ = os.NewFile(uintptr(fd), "listener").Close()
		return nil, fmt.Errorf("admit launcher: %w", err)
	}
	return os.NewFile(uintptr(fd), "seccomp listener"), nil
}
