package borrow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/wire"
)

// startPatience is how long a place is tried at a session's start when what fails may go by itself: a person waits.
const startPatience = 5 * time.Second

// A place that was attached to and then fails for good may only be on its way out of the set, which the session hears of a
// little later than of its link: it is tried so often again, so long apart.
const (
	doubts     = 2
	doubtDelay = 2 * time.Second
)

// errLeft is the cause that ends the attachment of a place that left the set.
var errLeft = errors.New("the place is no longer one of the target's")

// attachment keeps a link to one place as long as that is one of the target's, and all subscriptions on it. Its goroutine
// is run; whoever cancels it need not wait, since the borrow does.
type attachment struct {
	borrow *Borrow
	place  place.Place
	log    *zap.Logger
	cancel context.CancelCauseFunc
	unread unread
}

// run makes the link again and again until ctx ends or the place is given up.
func (a *attachment) run(ctx context.Context) {
	var wait backoff
	began, ever, doubted := time.Now(), false, 0
	for ctx.Err() == nil {
		a.borrow.tell(func(r *roster) effect { r.trying(a.place.ID()); return effect{} })
		lived, err := a.live(ctx)
		if ctx.Err() != nil {
			return
		}
		a.log.Info("link over", zap.Duration("lived", lived), zap.Error(err))
		if lived > 0 {
			ever, doubted = true, 0
		}
		delay := time.Duration(0)
		switch begun := a.borrow.hasBegun(); {
		case a.mayPass(err) && (begun || time.Since(began) < startPatience):
			if lived > steady {
				wait = backoff{}
			}
			delay = wait.next(luck())
		case a.place.Lasting() && begun && ever && doubted < doubts:
			doubted++
			delay = doubtDelay
		default:
			a.borrow.tell(func(r *roster) effect { return r.failed(a.place.ID(), a.fault(err)) })
			return
		}
		a.borrow.tell(func(r *roster) effect { return r.lost(a.place.ID(), err, time.Now()) })
		pause(ctx, delay)
	}
}

// mayPass says whether it makes sense to try again after err. A place that is gone is so only for those who follow the
// target: they take it out of the set, or end the session.
func (a *attachment) mayPass(err error) bool {
	return a.place.Lasting() && (place.IsTemporary(err) || fault.As(err).ID == fault.TargetGone)
}

// fault says why the place was given up.
func (a *attachment) fault(err error) *fault.Fault {
	var version *wire.VersionError
	if errors.As(err, &version) {
		return fault.New(fault.AgentVersion, fmt.Sprintf("the agent of %s cannot be used", a.place), err)
	}
	return fault.Or(err, fault.AgentStart, fmt.Sprintf("cannot attach to %s", a.place))
}

// live is the life of one link, from the attaching to its end. lived is how long it had all its subscriptions, zero if it
// never had. The error says why it ended.
func (a *attachment) live(ctx context.Context) (lived time.Duration, err error) {
	l, err := a.connect(ctx)
	if err != nil {
		return 0, err
	}
	lived, err = a.use(ctx, l)
	if ctx.Err() != nil || !place.IsTemporary(err) {
		l.part()
	}
	l.close()
	return lived, err
}

// use has the session go over l until l ends, and says why it did.
func (a *attachment) use(ctx context.Context, l *link) (lived time.Duration, err error) {
	if err := a.borrow.described(ctx, l); err != nil {
		return 0, err
	}
	l.serve()
	a.borrow.enlist(l)
	defer a.borrow.strike(l)
	witness, _ := a.place.(place.Witness)
	if err := a.subscribe(l); err != nil {
		if witness != nil && l.ctx.Err() == nil {
			witness.Refused(err)
		}
		return 0, err
	}
	if witness != nil {
		witness.Held()
	}
	began := time.Now()
	a.borrow.tell(func(r *roster) effect { return r.attached(a.place.ID(), time.Now()) })
	<-l.ctx.Done()
	return time.Since(began), a.why(l)
}

// subscribe asks for all ports that the session has. A port that another session holds ends a session that has not begun;
// later it is asked for until it is free, and what else the place has goes on.
func (a *attachment) subscribe(l *link) error {
	var wait backoff
	for {
		err := l.subscribeAll(a.borrow.wanted())
		switch {
		case err == nil:
			return nil
		case l.ctx.Err() != nil:
			return a.why(l)
		case fault.As(err).ID != fault.PortTaken || !a.borrow.hasBegun():
			return err
		}
		a.borrow.tell(func(r *roster) effect { return r.refused(a.place.ID(), err, time.Now()) })
		pause(l.ctx, wait.next(luck()))
	}
}

// why says what ended the link.
func (a *attachment) why(l *link) error {
	cause := context.Cause(l.ctx)
	if a.place.Lasting() {
		return place.Temporary(cause)
	}
	return fault.Or(cause, fault.LinkLost, fmt.Sprintf("the agent of %s is gone", a.place))
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
