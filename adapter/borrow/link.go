package borrow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/control"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// farewell bounds what is said to an agent at the end: that the target serves by itself again, and that nobody comes back.
// What an agent that does not answer holds is undone when the link ends.
const farewell = 500 * time.Millisecond

// link is one connection to a place's agent. Its goroutines: the streams of the agent, one that tells the agent of the
// debugger's pauses, one that tells it of the session's patience, and one for each call of subscribe; close ends and awaits them.
type link struct {
	*attachment
	// ctx ends with the link; its cause says why.
	ctx         context.Context //nolint:containedctx // the lifetime that the link's streams share
	end         context.CancelCauseFunc
	session     *mux.Session
	control     *control.Client
	description wire.Description
	// clients are those of the target that have sent requests over this link.
	clients tunnel.Clients
	// age counts the links that were made before; the borrow's lock guards it.
	age     uint64
	group   sync.WaitGroup
	parting sync.Once

	mu            sync.Mutex
	subscriptions map[uint16]*subscription // by the target's port
	released      bool                     // no subscription any more
}

// connect attaches to the place, greets its agent and asks what a process there sees. Errors that may go by themselves are
// place.Temporary.
func (a *attachment) connect(ctx context.Context) (*link, error) {
	conn, err := a.place.Attach(ctx)
	if err != nil {
		return nil, err
	}
	l := &link{attachment: a, subscriptions: map[uint16]*subscription{}}
	l.ctx, l.end = context.WithCancelCause(ctx)
	if l.session, err = mux.Start(ctx, conn, mux.AdapterSide, mux.Options{Log: a.log, Hello: a.borrow.opts.Hello}); err != nil {
		l.end(err)
		return nil, passing(err)
	}
	stream, err := l.session.Open(ctx, wire.Header{Kind: wire.KindControl}, nil)
	if err != nil {
		l.end(err)
		_ = l.session.Close()
		return nil, passing(err)
	}
	// Not l.ctx: the farewell comes after its end.
	l.control = control.NewClient(context.WithoutCancel(ctx), stream, notices{l}, a.log)
	if l.description, err = l.control.Describe(ctx, wire.DescribeParams{Environment: a.borrow.wantsEnvironment()}); err != nil {
		l.close()
		return nil, passing(err)
	}
	return l, nil
}

// passing marks an error of a link as one that may go by itself, which another version does not.
func passing(err error) error {
	var version *wire.VersionError
	if errors.As(err, &version) {
		return err
	}
	return place.Temporary(err)
}

// serve takes the agent's streams from here on.
func (l *link) serve() {
	l.group.Go(func() {
		l.end(l.session.Serve(func(stream *mux.Stream) { l.borrow.tunnel.Serve(l.ctx, &l.clients, stream) }))
	})
	l.group.Go(l.tellPauses)
	l.group.Go(l.tellPatience)
}

// tellPauses tells the agent whether the debugger is stopped, for others that ask who holds a port.
func (l *link) tellPauses() {
	told := false
	for l.ctx.Err() == nil {
		paused, changed := l.borrow.isPaused()
		if paused != told {
			if err := l.control.Paused(l.ctx, wire.PausedParams{Paused: paused}); err != nil {
				l.log.Debug("tell of the debugger", zap.Error(err))
			}
			told = paused
			continue
		}
		select {
		case <-changed:
		case <-l.ctx.Done():
		}
	}
}

// alive reports whether a stream may be opened.
func (l *link) alive() bool {
	select {
	case <-l.session.Done():
		return false
	default:
		return l.ctx.Err() == nil
	}
}

// part ends the subscriptions, so that the target serves by itself again, and says farewell. What was delivered goes on.
// It returns within the bound of farewell.
func (l *link) part() {
	l.parting.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), farewell)
		defer cancel()
		var group errgroup.Group
		for _, id := range l.release() {
			group.Go(func() error {
				if err := l.control.Unsubscribe(ctx, wire.UnsubscribeParams{ID: id}); err != nil {
					l.log.Debug("unsubscribe", zap.Error(err))
				}
				return nil
			})
		}
		_ = group.Wait()
		if err := l.control.Leave(ctx, wire.LeaveParams{Linger: l.borrow.mirror.Agent.Linger}); err != nil {
			l.log.Debug("leave", zap.Error(err))
		}
	})
}

// close ends the link. What the agent holds for it ends too.
func (l *link) close() {
	l.end(mux.ErrClosed)
	l.release()
	_ = l.control.Close()
	_ = l.session.Close()
	l.group.Wait()
	l.clients.Close()
}

// notices hears the agent. It must not block.
type notices struct{ *link }

// Ended : the agent gave a subscription up.
func (n notices) Ended(p wire.EndedParams) {
	switch {
	case n.place.Lasting():
		n.end(&p.Refusal)
	case errors.Is(&p.Refusal, syscall.ESRCH):
		n.end(fault.New(fault.TargetGone, fmt.Sprintf("%s ended", n.place), nil))
	default:
		n.end(fault.New(fault.SubscribeRefused, fmt.Sprintf("the agent gave the traffic of %s up", n.place), &p.Refusal))
	}
}

// Closed : no further request comes of clients' connections.
func (n notices) Closed(p wire.ClosedParams) {
	for _, connection := range p.Connections {
		n.clients.Closed(n.ctx, connection)
	}
}

// Lost : a mirror could not deliver everything.
func (n notices) Lost(p wire.LostParams) {
	var parts []string
	if p.Packets > 0 {
		parts = append(parts, fmt.Sprintf("%d packets", p.Packets))
	}
	if p.Connections > 0 {
		parts = append(parts, fmt.Sprintf("%d copies", p.Connections))
	}
	n.borrow.say(fmt.Sprintf("the mirror of %s lost %s", n.place, strings.Join(parts, " and ")))
}
