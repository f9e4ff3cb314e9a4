// Package borrow is everything of a session that is not the debugger: the agent beside the target, the link to it, the
// subscriptions, and the interception that a debuggee is started under. `podstep dap` and `podstep run` are both built
// on it. It starts no debuggee itself.
package borrow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/control"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
	"podstep.dev/launcher"
	"podstep.dev/launcher/rules"
)

// Provider starts an agent in a target. Errors are *fault.Fault.
type Provider interface {
	// Attach returns the connection to an agent in target, before its greeting. say receives lines for the person while it
	// takes time. Close of the connection ends the agent, if it was started for this session, and waits for it.
	Attach(ctx context.Context, target config.Target, say func(string)) (io.ReadWriteCloser, error)
}

// Options of Start. Provider is required.
type Options struct {
	// Log receives the session's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Provider reaches the target.
	Provider Provider
	// Hello is what the agent hears of us.
	Hello wire.Hello
	// Say receives lines for the person, without a line end. If nil, they are dropped. It must not block.
	Say func(string)
	// OwnEnv are the names of variables that the user sets for the debuggee: the target's do not replace them.
	OwnEnv []string
	// Listening is told of each port that the debuggee serves to others, once its traffic is subscribed to. May be nil.
	Listening func(port uint16)
}

// Borrow is one borrowed target. Its goroutines: the link's streams (ended by Close of the link) and one that watches
// the link's end. All are waited for by Close.
type Borrow struct {
	ctx     context.Context //nolint:containedctx // the lifetime that the link's streams share
	cancel  context.CancelCauseFunc
	log     *zap.Logger
	say     func(string)
	mirror  config.Mirror
	target  config.Target
	dir     string
	session *mux.Session
	control *control.Client
	host    *launcher.Host
	tunnel  tunnel.Tunnel
	env     map[string]string
	group   errgroup.Group
	closing sync.Once

	mu            sync.Mutex
	subscriptions map[uint16]uint64 // by the target's port; 0 while asked for
	released      bool              // no subscription any more
}

// Start attaches an agent to the target, subscribes to the configured ports and gets the interception ready. On error,
// a *fault.Fault, everything begun is undone. The borrow lives until Close, whatever becomes of ctx.
func Start(ctx context.Context, m config.Mirror, opts Options) (_ *Borrow, err error) {
	b := &Borrow{mirror: m, log: opts.Log, say: opts.Say, subscriptions: map[uint16]uint64{}}
	if b.log == nil {
		b.log = zap.NewNop()
	}
	if b.say == nil {
		b.say = func(string) {}
	}
	if b.target, err = config.ParseTarget(m.Target); err != nil {
		return nil, err
	}
	b.ctx, b.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			_ = b.Close()
		}
	}()
	description, err := b.attach(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := b.intercept(description, opts); err != nil {
		return nil, err
	}
	if m.Incoming.Mode != config.ModeOff {
		if err := b.subscribeConfigured(ctx); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// attach starts the agent and asks it what a process in the target sees.
func (b *Borrow) attach(ctx context.Context, opts Options) (wire.Description, error) {
	var none wire.Description
	conn, err := opts.Provider.Attach(ctx, b.target, b.say)
	if err != nil {
		return none, err
	}
	if b.session, err = mux.Start(ctx, conn, mux.AdapterSide, mux.Options{Log: b.log.Named("link"), Hello: opts.Hello}); err != nil {
		return none, b.attachFault(err)
	}
	stream, err := b.session.Open(ctx, wire.Header{Kind: wire.KindControl}, nil)
	if err != nil {
		return none, b.attachFault(err)
	}
	b.control = control.NewClient(b.ctx, stream, notices{b}, b.log)
	description, err := b.control.Describe(ctx, wire.DescribeParams{Environment: len(b.mirror.Env.Include) > 0})
	if err != nil {
		return none, b.attachFault(err)
	}
	b.say(fmt.Sprintf("attached to %s (%s)", b.target, description.Hostname))
	return description, nil
}

func (b *Borrow) attachFault(err error) error {
	var version *wire.VersionError
	if errors.As(err, &version) {
		return fault.New(fault.AgentVersion, fmt.Sprintf("the agent of %s cannot be used", b.target), err)
	}
	return fault.Or(err, fault.AgentStart, fmt.Sprintf("cannot attach to %s", b.target))
}

// intercept gets ready for the launchers that the debugger or the person will start.
func (b *Borrow) intercept(d wire.Description, opts Options) (err error) {
	b.env = b.mirror.Env.Select(d.Environment)
	for _, name := range opts.OwnEnv {
		delete(b.env, name)
	}
	plan := launcher.Plan{
		Addresses: d.Addresses,
		Rules:     rules.Config{TCP: b.mirror.Outgoing.TCP, DNS: b.mirror.DNS, Local: b.mirror.Outgoing.Local},
		Env:       b.env,
	}
	if b.mirror.Hostname {
		plan.Hostname = d.Hostname
	}
	if b.dir, err = makeDir(); err != nil {
		return fault.New(fault.LauncherFailed, "cannot prepare the session", err)
	}
	b.host, err = launcher.Listen(b.ctx, b.dir, launcher.Options{
		Log: b.log, Plan: plan, Link: link{b.session},
		Listening: func(ctx context.Context, port uint16) {
			b.listening(ctx, port)
			if opts.Listening != nil {
				opts.Listening(port)
			}
		},
	})
	if err != nil {
		return fault.Or(err, fault.LauncherFailed, "cannot prepare the interception")
	}
	b.tunnel.Log, b.tunnel.Ports, b.tunnel.Deliver = b.log.Named("tunnel"), b.mirror.Incoming.Ports, b.host.Deliver
	b.group.Go(func() error {
		cause := b.session.Serve(func(stream *mux.Stream) { b.tunnel.Serve(b.ctx, stream) })
		b.end(fault.New(fault.LinkLost, fmt.Sprintf("the agent of %s is gone", b.target), cause))
		return nil
	})
	return nil
}

// Command returns argv prefixed so that it runs under interception. traced says that argv is a ptrace debugger: only what
// it traces, and all descendants of that, is intercepted, and the target's environment is left out (see Env).
func (b *Borrow) Command(argv []string, traced bool) []string {
	how := launcher.How{}
	if traced {
		how = launcher.How{Traced: true, NoEnv: true}
	}
	return b.host.Command(argv, how)
}

// Env is what of the target's environment the debuggee gets. The caller must not change it.
func (b *Borrow) Env() map[string]string { return b.env }

// SessionDir is the session's directory, 0700, removed by Close.
func (b *Borrow) SessionDir() string { return b.dir }

// SetPaused says whether the debugger is stopped; while it is, new connections stay with the target.
func (b *Borrow) SetPaused(paused bool) { b.tunnel.SetPaused(paused) }

// Status says what the borrow does at this moment.
func (b *Borrow) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Status{Target: b.target.String(), Mode: b.mirror.Incoming.Mode, Counts: b.tunnel.Counts()}
	for port, id := range b.subscriptions {
		if id != 0 {
			s.Ports = append(s.Ports, port)
		}
	}
	slices.Sort(s.Ports)
	return s
}

// Status is what `podstep/status` answers.
type Status struct {
	Target string `json:"target"`
	Mode   string `json:"mode"`
	// Ports of the target whose traffic is subscribed to.
	Ports []uint16 `json:"ports"`
	tunnel.Counts
}

// Done is closed when the borrow ended, by itself or by Close.
func (b *Borrow) Done() <-chan struct{} { return b.ctx.Done() }

// Err says why it ended: a *fault.Fault, or mux.ErrClosed after Close. It is nil before.
func (b *Borrow) Err() error { return context.Cause(b.ctx) }

// end ends the borrow, once; the first cause counts.
func (b *Borrow) end(cause error) { b.cancel(cause) }

// Close gives the target back and undoes everything in reverse. The debuggee's tree should be ended before, else its
// calls fail. It returns when nothing is left.
func (b *Borrow) Close() error {
	var err error
	b.closing.Do(func() {
		if b.control != nil {
			b.release()
		}
		b.end(mux.ErrClosed)
		if b.host != nil {
			err = errors.Join(err, b.host.Close())
		}
		if b.control != nil {
			_ = b.control.Close()
		}
		if b.session != nil {
			_ = b.session.Close()
		}
		_ = b.group.Wait()
		if b.dir != "" {
			err = errors.Join(err, os.RemoveAll(b.dir))
		}
	})
	return err
}
