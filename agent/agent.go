//go:build linux

// Package agent serves one session from inside the target: what the adapter at the other end of a link asks for is done
// in the namespaces that the calling process is in, and undone when the link ends, however it ends.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"podstep.dev/agent/incoming"
	"podstep.dev/agent/outgoing"
	"podstep.dev/agent/target"
	"podstep.dev/internal/control"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/program"
	"podstep.dev/internal/wire"
)

// ErrTargetGone is the end of a session whose target's process ended.
var ErrTargetGone = errors.New("the target's process ended")

const (
	// maxStreams bounds the adapter's streams: each takes buffers, which are the pod's memory.
	maxStreams = 1024
	// linkBudget is what may wait unread in the link's streams, in bytes. With the first bytes that incoming keeps (4 MiB)
	// and a mirror's ring and copies (12 MiB) it makes the 32 MiB that an agent may take of the pod's memory.
	linkBudget = 16 << 20
	// noticeTimeout is how long the last notices may take before the link is closed.
	noticeTimeout = 500 * time.Millisecond
)

// Options of Serve. The zero value works, except that Target is needed.
type Options struct {
	// Log receives the session's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Target is the process whose place the debuggee takes. Serve does not close it.
	Target *target.Target
	// Drain is how long connections that were passed through to the target may go on after the link's end. If zero, 800 ms: less than the
	// second in which nothing of a session may be left.
	Drain time.Duration
}

// Serve serves one session over conn, which it owns, until the link or ctx ends or the target's process does
// (ErrTargetGone). When it returns nothing of the session is left. A link that the adapter ended is no error.
func Serve(ctx context.Context, conn io.ReadWriteCloser, opts Options) error {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Drain == 0 {
		opts.Drain = 800 * time.Millisecond
	}
	link, err := mux.Start(ctx, conn, mux.AgentSide, mux.Options{
		Log: opts.Log, Streams: maxStreams, Budget: linkBudget,
		Hello: wire.Hello{Program: program.Agent + " " + program.Version()},
	})
	if err != nil {
		return err
	}
	s := newSession(ctx, link, opts)
	s.log.Info("session", zap.String("holder", link.Peer.Holder), zap.String("program", link.Peer.Program))
	return s.run(ctx)
}

// session is one adapter's. Its goroutines, which run waits for: the link's Serve with those that it starts for each
// stream, and the sender of notices.
type session struct {
	log      *zap.Logger
	opts     Options
	link     *mux.Session
	incoming *incoming.Subscriptions
	outgoing *outgoing.Outgoing

	notices *notices

	mu     sync.Mutex
	server *control.Server
}

func newSession(ctx context.Context, link *mux.Session, opts Options) *session {
	s := &session{log: opts.Log, opts: opts, link: link, notices: startNotices(opts.Log)}
	s.incoming = incoming.New(ctx, s.begin, incoming.Options{
		Log:    opts.Log.Named("incoming"),
		Holder: wire.Holder{Name: link.Peer.Holder, Session: link.Peer.Session},
		Ended:  func(p wire.EndedParams) { s.notify(func(c *control.Server) error { return c.Ended(ctx, p) }) },
		Lost:   func(p wire.LostParams) { s.notify(func(c *control.Server) error { return c.Lost(ctx, p) }) },
	})
	s.outgoing = outgoing.New(outgoing.Options{
		Log: opts.Log.Named("outgoing"), Files: opts.Target.Files(),
		Hostname: opts.Target.Hostname, Addresses: opts.Target.Addresses,
	})
	return s
}

// run ends the link for every reason there is, then undoes in reverse: rules and taken connections at once, then what
// was passed through, last the streams.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var streams errgroup.Group
	streams.Go(func() error { return s.link.Serve(func(st *mux.Stream) { s.serve(ctx, st) }) })
	var err error
	select {
	case <-s.link.Done():
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-s.opts.Target.Exited():
		err = ErrTargetGone
		s.incoming.End(wire.Refusal{Errno: syscall.ESRCH, Text: ErrTargetGone.Error()})
		s.notices.flush(noticeTimeout)
	}
	cancel(incoming.ErrEnded)
	closed := s.link.Close()
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Drain)
	defer stop()
	left := s.incoming.Close(drain)
	s.notices.stop()
	if cause := streams.Wait(); err == nil && !errors.Is(cause, mux.ErrPeerGone) && !errors.Is(cause, mux.ErrClosed) {
		err = cause
	}
	s.log.Info("session ended", zap.Error(err))
	return errors.Join(err, left, closed)
}

// begin begins a stream towards the adapter for incoming.
func (s *session) begin(ctx context.Context, h wire.Header, first []byte) (incoming.Stream, error) {
	st, err := s.link.Begin(ctx, h, first)
	if err != nil {
		return nil, err
	}
	return st, nil
}

// serve serves one of the adapter's streams.
func (s *session) serve(ctx context.Context, st *mux.Stream) {
	switch st.Header.Kind {
	case wire.KindControl:
		s.control(ctx, st)
	case wire.KindDial:
		s.outgoing.Dial(ctx, st, st.Header.Address)
	case wire.KindDNS:
		s.outgoing.DNS(ctx, st)
	default:
		refusal := &wire.Refusal{Errno: syscall.ENOTSUP, Reason: wire.ReasonUnsupported, Text: fmt.Sprintf("stream of kind %q", st.Header.Kind)}
		_ = st.Refuse(refusal)
	}
}

// control answers the adapter's calls until the conversation ends, and the session with it.
func (s *session) control(ctx context.Context, st *mux.Stream) {
	s.mu.Lock()
	if s.server != nil {
		s.mu.Unlock()
		_ = st.Refuse(&wire.Refusal{Errno: syscall.EBUSY, Text: "the session has its control stream"})
		return
	}
	if err := st.Opened(wire.Answer{}); err != nil {
		s.mu.Unlock()
		st.Reset()
		return
	}
	server := control.NewServer(ctx, st, calls{s}, s.log)
	s.server = server
	s.mu.Unlock()
	<-server.Done()
	_ = s.link.Close()
}

// notify sends a notice without holding up whoever has it.
func (s *session) notify(send func(*control.Server) error) {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	if server == nil {
		return
	}
	s.notices.add(func() error { return send(server) })
}

// calls answers the control methods.
type calls struct{ *session }

// Describe tells what a process in the target sees.
func (c calls) Describe(_ context.Context, p wire.DescribeParams) (wire.Description, error) {
	return c.opts.Target.Describe(p.Environment)
}

// Subscribe begins a subscription.
func (c calls) Subscribe(ctx context.Context, p wire.SubscribeParams) (wire.Subscription, error) {
	return c.incoming.Subscribe(ctx, p)
}

// Unsubscribe ends one.
func (c calls) Unsubscribe(ctx context.Context, p wire.UnsubscribeParams) error {
	return c.incoming.Unsubscribe(ctx, p)
}
