//go:build linux

// Package agent serves sessions from inside the target: what the adapter at the other end of a link asks for is done in
// the namespaces that the calling process is in, and undone when the link ends, however it ends. Sessions share nothing
// but the memory that they may take of the pod, and know of each other only to say who holds what.
package agent

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent/incoming"
	"podstep.dev/agent/target"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/program"
	"podstep.dev/internal/wire"
)

// errReplaced ends a session that came back over another link.
var errReplaced = errors.New("the session goes on over another link")

// Steal says which steals an agent allows.
type Steal string

// The policies, as the annotation podstep.dev/steal has them.
const (
	StealAllow        Steal = "allow"
	StealFilteredOnly Steal = "filtered-only"
	StealDeny         Steal = "deny"
)

// noticeTimeout is how long the last notices may take before the link is closed.
const noticeTimeout = 500 * time.Millisecond

// Options of an agent. The zero value works, except that Target is needed.
type Options struct {
	// Log receives the sessions' lines. If nil, nothing is logged.
	Log *zap.Logger
	// Target is whose place the debuggee takes. The agent does not close it.
	Target *target.Target
	// Drain is how long connections that were passed through to the target may go on when the agent ends. If zero, 800 ms: less than the
	// second in which nothing of it may be left.
	Drain time.Duration
	// Steal is what the target's owners allow. If empty, StealAllow.
	Steal Steal
	// Memory is the cap in bytes on all buffers of all sessions together: they are the pod's memory. At least 4 MiB. If
	// zero, 32 MiB.
	Memory int
	// Connections is how many stolen connections are handled at once, of all sessions; further ones go straight to the target. If zero, one
	// for each 128 KiB of Memory.
	Connections int
	// Unjoined is how long Run waits for the first session, and for one to come back when the last link was lost. If
	// zero, 30 s.
	Unjoined time.Duration
	// Changed is told that the list of sessions changed. It must not block. If nil, nobody is told.
	Changed func(*Agent)
	// Lifetime is when Run ends at the latest. If zero, 24 h.
	Lifetime time.Duration
}

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Drain == 0 {
		o.Drain = 800 * time.Millisecond
	}
	if o.Steal == "" {
		o.Steal = StealAllow
	}
	if o.Memory == 0 {
		o.Memory = 32 << 20
	}
	if o.Connections == 0 {
		o.Connections = o.Memory / (128 << 10)
	}
	if o.Changed == nil {
		o.Changed = func(*Agent) {}
	}
	if o.Unjoined == 0 {
		o.Unjoined = 30 * time.Second
	}
	if o.Lifetime == 0 {
		o.Lifetime = 24 * time.Hour
	}
	return o
}

// Agent serves the sessions of one target, each over a link of its own. It has no goroutines; Serve has those of its
// session.
type Agent struct {
	opts   Options
	stay   *Stay
	shares shares
	ports  *incoming.Ports
	asks   asks

	mu       sync.Mutex
	links    int
	sessions []*session // in the order in which they joined
}

// New returns an agent without sessions.
func New(opts Options) *Agent {
	opts = opts.filled()
	a := &Agent{opts: opts, stay: NewStay(opts.Unjoined), shares: share(opts.Memory, opts.Connections)}
	a.ports = incoming.NewPorts(opts.Log.Named("incoming"), a.shares.incoming)
	return a
}

// Close ends what outlives sessions: connections that were passed through to the target may go on for Options.Drain, whatever
// becomes of ctx. All sessions have ended before. When it returns nothing of the agent is left.
func (a *Agent) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Drain)
	defer cancel()
	return a.ports.Close(ctx)
}

// Serve serves one session over conn, which it owns, until the link or ctx ends or the target's process does
// (ErrTargetGone). When it returns nothing of the session is left. A link that the adapter ended is no error.
func (a *Agent) Serve(ctx context.Context, conn io.ReadWriteCloser) error {
	if !a.enter() {
		return errors.Join(&wire.Refusal{Errno: syscall.EAGAIN, Text: "the agent serves as many links as it may"}, conn.Close())
	}
	defer a.leave()
	if !a.stay.Hold() {
		return errors.Join(&wire.Refusal{Errno: syscall.ESHUTDOWN, Text: "the agent's time is over"}, conn.Close())
	}
	release := sync.OnceFunc(a.stay.Release)
	defer release()
	link, err := mux.Start(ctx, conn, mux.AgentSide, mux.Options{
		Log: a.opts.Log, Streams: a.shares.streams, Shared: a.shares.links,
		Hello: wire.Hello{Program: program.Agent + " " + program.Version()},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := newSession(ctx, a, link, cancel)
	s.log.Info("session", zap.String("holder", link.Peer.Holder), zap.String("program", link.Peer.Program))
	if s.counts() {
		a.join(s)
		defer a.part(s)
	}
	release()
	return s.run(ctx)
}

// enter counts a link in, if there is room.
func (a *Agent) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.links >= a.shares.sessions {
		return false
	}
	a.links++
	return true
}

func (a *Agent) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.links--
}

// join adds a session. An older link of the same session may be half dead: it ends at once, and holds nothing any more
// when join returns.
func (a *Agent) join(s *session) {
	a.mu.Lock()
	var old *session
	for i, o := range a.sessions {
		if o.link.Peer.Session == s.link.Peer.Session {
			old = o
			a.sessions = slices.Delete(a.sessions, i, i+1)
			break
		}
	}
	a.sessions = append(a.sessions, s)
	a.mu.Unlock()
	a.stay.Join(s.link.Peer.Session)
	a.opts.Changed(a)
	if old != nil {
		old.log.Info("replaced")
		old.release(errReplaced)
	}
}

// part removes a session that ended.
func (a *Agent) part(s *session) {
	a.mu.Lock()
	i := slices.Index(a.sessions, s)
	if i >= 0 {
		a.sessions = slices.Delete(a.sessions, i, i+1)
	}
	a.mu.Unlock()
	a.asks.over(s)
	linger, left := s.left()
	switch {
	case i < 0: // the session goes on over another link
		a.stay.Leave(0)
	case left:
		a.stay.Leave(linger)
	default:
		a.stay.Lose(s.link.Peer.Session)
	}
	a.opts.Changed(a)
}

// Run waits until the agent is of no more use and returns why; see [Stay.Run]. It ends no session: that is for the caller,
// by the context of Serve.
func (a *Agent) Run(ctx context.Context) error {
	return a.stay.Run(ctx, a.opts.Lifetime, a.opts.Target.Exited())
}

// Left tells that the last session said its farewell, and how much longer it asked the agent to stay.
func (a *Agent) Left() (linger time.Duration, left bool) { return a.stay.left() }

// Sessions lists the sessions in the order in which they joined.
func (a *Agent) Sessions() wire.Sessions {
	a.mu.Lock()
	sessions := slices.Clone(a.sessions)
	a.mu.Unlock()
	list := wire.Sessions{Sessions: make([]wire.Session, 0, len(sessions))}
	for _, s := range sessions {
		list.Sessions = append(list.Sessions, s.describe())
	}
	return list
}
