//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"podstep.dev/agent/incoming"
	"podstep.dev/agent/outgoing"
	"podstep.dev/internal/control"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// session is one adapter's. Its goroutines, which run waits for: the link's Serve with those that it starts for each
// stream, and the sender of notices.
type session struct {
	log      *zap.Logger
	agent    *Agent
	link     *mux.Session
	since    time.Time
	cancel   context.CancelCauseFunc
	incoming *incoming.Subscriptions
	outgoing *outgoing.Outgoing

	notices *notices
	// telling is the context of notices: the last ones are sent when the session's has ended.
	telling context.Context //nolint:containedctx // it never ends

	mu          sync.Mutex
	server      *control.Server
	held        []held // in the order in which they began
	pausedSince time.Time
	// over are connections that the adapter has to be told of; overTold says that a notice is on its way.
	over     []uint64
	overTold bool
	// farewell is what the adapter said before it left, nil while it has not.
	farewell *wire.LeaveParams
}

// held is one subscription of a session.
type held struct {
	id uint64
	wire.SubscribeParams
}

// newSession makes the session of a link; cancel ends the context of its run.
func newSession(ctx context.Context, a *Agent, link *mux.Session, cancel context.CancelCauseFunc) *session {
	log := a.opts.Log
	if link.Peer.Session != "" {
		log = log.With(zap.String("session", link.Peer.Session))
	}
	s := &session{
		log: log, agent: a, link: link, cancel: cancel, since: time.Now().UTC().Truncate(time.Second), notices: startNotices(log),
	}
	s.telling = context.WithoutCancel(ctx)
	s.incoming = incoming.New(ctx, s.begin, incoming.Options{
		Log:    log.Named("incoming"),
		Holder: wire.Holder{Name: link.Peer.Holder, Session: link.Peer.Session},
		Ended: func(p wire.EndedParams) {
			s.drop(p.ID)
			s.notify(func(c *control.Server) error { return c.Ended(s.telling, p) })
		},
		Memory: a.shares.incoming, Ports: a.ports, Closed: s.closed, Files: a.opts.Target.ProcessFiles(),
		Lost:   func(p wire.LostParams) { s.notify(func(c *control.Server) error { return c.Lost(s.telling, p) }) },
		Unread: func(p wire.UnreadParams) { s.notify(func(c *control.Server) error { return c.Unread(s.telling, p) }) },
	})
	t := a.opts.Target
	s.outgoing = outgoing.New(outgoing.Options{
		Log: log.Named("outgoing"), Files: t.Files(), Hostname: t.Hostname, Addresses: t.Addresses,
		Buffers: a.shares.buffers,
	})
	return s
}

// counts tells whether the link is a session's: one that names none only asks.
func (s *session) counts() bool { return s.link.Peer.Session != "" }

// run ends the link for every reason there is, then undoes in reverse: rules and taken connections at once, then what
// was passed through, last the streams.
func (s *session) run(ctx context.Context) error {
	// The adapter is told of the end before its streams end.
	serving, stopStreams := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopStreams(nil)
	var streams errgroup.Group
	streams.Go(func() error { return s.link.Serve(func(st *mux.Stream) { s.serve(serving, st) }) })
	var err error
	select {
	case <-s.link.Done():
	case <-ctx.Done():
		err = context.Cause(ctx)
		s.release(err)
	case <-s.agent.opts.Target.Exited():
		err = ErrTargetGone
		s.release(err)
	}
	stopStreams(incoming.ErrEnded)
	closed := s.link.Close()
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), s.agent.opts.Drain)
	defer stop()
	left := s.incoming.Close(drain)
	s.notices.stop()
	if cause := streams.Wait(); err == nil && !errors.Is(cause, mux.ErrPeerGone) && !errors.Is(cause, mux.ErrClosed) {
		err = cause
	}
	s.log.Info("session ended", zap.Error(err))
	return errors.Join(err, left, closed)
}

// release lets go of all that the session holds, tells the adapter why, and has run end. It may be called at any time.
func (s *session) release(cause error) {
	refusal := wire.Refusal{Errno: syscall.ESHUTDOWN, Text: cause.Error()}
	if errors.Is(cause, ErrTargetGone) {
		refusal.Errno = syscall.ESRCH
	}
	s.incoming.End(refusal)
	if !errors.Is(cause, errReplaced) {
		// The link of a session that came back over another one takes nothing any more.
		s.notices.flush(noticeTimeout)
	}
	s.cancel(cause)
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

// notify sends a notice without holding up whoever has it, and says whether it will be sent.
func (s *session) notify(send func(*control.Server) error) bool {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	return server != nil && s.notices.add(func() error { return send(server) })
}

// closed tells the adapter that no further request comes of a connection. All that end before the notice leaves go with it.
func (s *session) closed(connection uint64) {
	s.mu.Lock()
	s.over = append(s.over, connection)
	first := !s.overTold
	s.overTold = true
	s.mu.Unlock()
	if first && !s.notify(s.tellClosed) {
		s.mu.Lock()
		s.overTold = false
		s.mu.Unlock()
	}
}

// tellClosed sends the notice.
func (s *session) tellClosed(c *control.Server) error {
	s.mu.Lock()
	p := wire.ClosedParams{Connections: s.over}
	s.over, s.overTold = nil, false
	s.mu.Unlock()
	return c.Closed(s.telling, p)
}

// describe is the session as others are told of it.
func (s *session) describe() wire.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := wire.Session{
		Holder:  wire.Holder{Name: s.link.Peer.Holder, Session: s.link.Peer.Session, Since: s.since},
		Program: s.link.Peer.Program, Subscriptions: make([]wire.SubscribeParams, 0, len(s.held)),
		Paused: !s.pausedSince.IsZero(), PausedSince: s.pausedSince,
	}
	for _, h := range s.held {
		d.Subscriptions = append(d.Subscriptions, h.SubscribeParams)
	}
	return d
}

// left tells whether the adapter said its farewell, and how much longer it asked the agent to stay.
func (s *session) left() (linger time.Duration, left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.farewell == nil {
		return 0, false
	}
	return time.Duration(s.farewell.Linger) * time.Second, true
}
