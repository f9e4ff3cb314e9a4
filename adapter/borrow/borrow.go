// Package borrow is everything of a session that is not the debugger: the links to the agents beside the target's pods, the
// subscriptions, and the interception that a debuggee is started under. `podstep dap` and `podstep run` are both built
// on it. It starts no debuggee itself, and it does not know what a cluster is.
package borrow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/requests/local"
	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
	"podstep.dev/launcher"
	"podstep.dev/launcher/rules"
)

// Options of Start. Provider is required.
type Options struct {
	// Log receives the session's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Provider finds the target.
	Provider place.Provider
	// Hello is what the agents hear of us.
	Hello wire.Hello
	// Say receives lines for the person, without a line end. If nil, they are dropped. It must not block.
	Say func(string)
	// OwnEnv are the names of variables that the user sets for the debuggee: the target's do not replace them.
	OwnEnv []string
	// Held is told of each request that a rule holds, and again when that is over with how it went on. It must not block. It may be nil.
	Held func(tunnel.Held, tunnel.Release)
	// Listening is told of each port that the debuggee serves to others, once its traffic is subscribed to. May be nil.
	Listening func(port uint16)

	// Asked is told of each question whether the session gives stolen ports back; Yield and Keep answer. It must not block. If nil, Say gets a
	// line that says how to answer.
	Asked func(Question)

	// listen stands in for launcher.Listen in tests.
	listen func(ctx context.Context, dir string, opts launcher.Options) (host, error)
}

// host is a launcher.Host.
type host interface {
	Command(argv []string, how launcher.How) []string
	Deliver(ctx context.Context, port uint16, from, to netip.AddrPort) (splice.Conn, error)
	Close() error
}

// Borrow is one borrowed target. Its goroutines: one that follows the target's places, one that waits for a revocation, and each place's attachment with
// those of its link. Close ends and awaits all.
type Borrow struct {
	ctx    context.Context //nolint:containedctx // the lifetime that all attachments share
	cancel context.CancelCauseFunc
	opts   Options
	log    *zap.Logger
	say    func(string)
	mirror config.Mirror
	target config.Target
	found  place.Target
	dir    string
	local  *local.Server
	host   host
	tunnel tunnel.Tunnel
	// requests are those that came; wants says which come.
	requests *requests.Log
	wants    wants
	secrets  secrets
	tlsTold  sync.Map // ports of which it was said that TLS with the debuggee fails
	h2Told   sync.Map // ports of which it was said that the debuggee does not speak HTTP/2 there
	existing existing
	// questions are what others ask, and what was given back; revocation is the last that was heard of, nil if there was none.
	questions  questions
	revocation atomic.Pointer[place.Revocation]
	env        map[string]string
	group      errgroup.Group
	closing    sync.Once
	// prepared is closed when the debuggee can be reached.
	prepared chan struct{}

	mu          sync.Mutex
	changed     chan struct{} // closed at the next change of what follows
	roster      roster
	attachments map[string]*attachment // by the place's id
	links       []*link                // the oldest first
	made        uint64                 // links
	ports       []uint16               // wanted so far
	paused      bool
	rules       []config.Rule     // those of the tunnel, in its order
	description *wire.Description // of the place that was attached to first
}

// Start finds the target, attaches to all its places at once, subscribes to the configured ports and gets the interception
// ready. On error, a *fault.Fault, everything begun is undone. The borrow lives until Close, whatever becomes of ctx.
func Start(ctx context.Context, m config.Mirror, opts Options) (_ *Borrow, err error) {
	b := &Borrow{
		mirror: m, opts: opts, log: opts.Log, say: opts.Say,
		prepared: make(chan struct{}), changed: make(chan struct{}), attachments: map[string]*attachment{},
	}
	if b.log == nil {
		b.log = zap.NewNop()
	}
	if b.say == nil {
		b.say = func(string) {}
	}
	if b.opts.listen == nil {
		b.opts.listen = listen
	}
	b.requests = requests.New(requests.Options{Replay: b.replay, Control: handling{b}})
	b.rules = m.Incoming.Rules
	if b.target, err = config.ParseTarget(m.Target); err != nil {
		return nil, err
	}
	if err = b.choose(m.Incoming.Filter); err != nil {
		return nil, err
	}
	if b.secrets, err = readSecrets(m.Incoming); err != nil {
		return nil, err
	}
	b.roster = roster{target: b.target.String(), act: act(m.Incoming.Mode)}
	b.ctx, b.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			_ = b.Close()
		}
	}()
	if b.found, err = opts.Provider.Find(ctx, m, b.say); err != nil {
		return nil, err
	}
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

func listen(ctx context.Context, dir string, opts launcher.Options) (host, error) {
	h, err := launcher.Listen(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// begin attaches to the places and returns when all of them are.
func (b *Borrow) begin(ctx context.Context) error {
	if b.mirror.Incoming.Mode != config.ModeOff {
		b.ports = slices.Sorted(maps.Keys(b.mirror.Incoming.Ports))
	}
	sets := b.found.Places(b.ctx)
	b.group.Go(func() error { b.follow(sets); return nil })
	if r, ok := b.found.(place.Revocable); ok && b.mirror.Incoming.Mode == config.ModeSteal {
		b.group.Go(func() error { b.obey(r.Revoked()); return nil })
	}
	if err := b.await(ctx, func() bool { return b.description != nil }); err != nil {
		return err
	}
	if err := b.intercept(*b.description); err != nil {
		return err
	}
	close(b.prepared)
	if err := b.await(ctx, b.roster.begin); err != nil {
		return err
	}
	for _, port := range slices.Sorted(maps.Keys(b.mirror.Incoming.Ports)) {
		if !b.questions.hasGiven(port) {
			b.sayPort(port)
		}
	}
	b.wants.say(b.say)
	return nil
}

// await waits until holds, which is called with the lock held, or until the borrow or ctx has ended.
func (b *Borrow) await(ctx context.Context, holds func() bool) error {
	for {
		b.mu.Lock()
		done, changed := holds(), b.changed
		b.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-b.ctx.Done():
			return b.Err()
		case <-ctx.Done():
			return fault.Or(context.Cause(ctx), fault.AgentStart, fmt.Sprintf("cannot attach to %s", b.target))
		}
	}
}

// follow attaches to the places that come and lets go of those that leave.
func (b *Borrow) follow(sets <-chan []place.Place) {
	for set := range sets {
		b.tell(func(r *roster) effect { return r.replace(b.replace(set)) })
	}
	if b.ctx.Err() == nil {
		b.end(fault.Or(b.found.Err(), fault.TargetGone, fmt.Sprintf("%s is gone", b.target)))
	}
}

// replace starts and ends attachments; the lock is held. It returns the set for the roster.
func (b *Borrow) replace(set []place.Place) (seats []seat) {
	stays := map[string]bool{}
	for _, p := range set {
		id := p.ID()
		stays[id] = true
		seats = append(seats, seat{id: id, name: p.String()})
		if b.attachments[id] != nil {
			continue
		}
		a := &attachment{borrow: b, place: p, log: b.log.Named("link").With(zap.String("place", p.String()))}
		var ctx context.Context
		ctx, a.cancel = context.WithCancelCause(b.ctx)
		b.attachments[id] = a
		b.group.Go(func() error { a.run(ctx); return nil })
	}
	for id, a := range b.attachments {
		if !stays[id] {
			a.cancel(errLeft)
			delete(b.attachments, id)
		}
	}
	return seats
}

// described takes what a process at the link's place sees; the first description counts. It returns when the debuggee can
// be reached.
func (b *Borrow) described(ctx context.Context, l *link) error {
	b.mu.Lock()
	if b.description == nil {
		b.description = &l.description
	}
	l.age = b.made
	b.made++
	begun := b.roster.begun
	b.changeLocked()
	b.mu.Unlock()
	if name := l.place.String(); !begun && strings.HasSuffix(name, l.description.Hostname) {
		b.say("attached to " + name)
	} else if !begun {
		b.say(fmt.Sprintf("attached to %s (%s)", name, l.description.Hostname))
	}
	select {
	case <-b.prepared:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wantsEnvironment reports whether nobody has said yet what the target's environment is.
func (b *Borrow) wantsEnvironment() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.description == nil && len(b.mirror.Env.Include) > 0
}

// intercept gets ready for the launchers that the debugger or the person will start.
func (b *Borrow) intercept(d wire.Description) (err error) {
	b.env = b.mirror.Env.Select(d.Environment)
	for _, name := range b.opts.OwnEnv {
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
	about := local.Session{Target: b.target.String(), Mode: b.mirror.Incoming.Mode}
	if b.local, err = local.Serve(b.ctx, b.dir, about, b.requests, b, b.log); err != nil {
		b.log.Warn("podstep requests does not see this session", zap.Error(err))
	}
	b.host, err = b.opts.listen(b.ctx, b.dir, launcher.Options{
		Log: b.log, Plan: plan, Link: outgoing{b},
		Listening: func(ctx context.Context, port uint16) {
			b.listening(ctx, port)
			if b.opts.Listening != nil {
				b.opts.Listening(port)
			}
		},
	})
	if err != nil {
		return fault.Or(err, fault.LauncherFailed, "cannot prepare the interception")
	}
	b.dig()
	b.tunnel.Recorder = recorder{b.requests}
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

// Requests is the log of those that came. It stays when the borrow ends, and nothing comes to it then.
func (b *Borrow) Requests() *requests.Log { return b.requests }

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
		b.part()
		b.end(mux.ErrClosed)
		if b.local != nil {
			err = errors.Join(err, b.local.Close())
		}
		if b.host != nil {
			err = errors.Join(err, b.host.Close())
		}
		_ = b.group.Wait()
		if b.found != nil {
			err = errors.Join(err, b.found.Close())
		}
		if b.dir != "" {
			err = errors.Join(err, os.RemoveAll(b.dir))
		}
	})
	return err
}

// part gives the target back on all links at once.
func (b *Borrow) part() {
	b.mu.Lock()
	links := b.links
	b.mu.Unlock()
	var group sync.WaitGroup
	for _, l := range links {
		group.Go(l.part)
	}
	group.Wait()
}
