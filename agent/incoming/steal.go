//go:build linux

package incoming

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// steal is a session's claim of a port: all of its requests, or those that a filter matches.
type steal struct {
	session *Subscriptions
	id      uint64
	params  wire.SubscribeParams
	probes  probes
	// declared matches probes that are not the kubelet's; nil for none.
	declared *filter.Matcher
	// only says in words what filter, which is nil for all, matches.
	only   filter.Filter
	filter *filter.Matcher
	// keyring has what TLS is taken off by, nil when it is not.
	keyring *keyring
	since   time.Time
	port    *port
	// over is done when the subscription has ended; what comes after that is the target's.
	over context.Context
	end  context.CancelFunc
}

func (s *Subscriptions) startSteal(id uint64, p wire.SubscribeParams) (subscription, error) {
	st := &steal{session: s, id: id, params: p, probes: newProbes(p.Probes), since: s.opts.Holder.Since}
	if st.since.IsZero() {
		st.since = time.Now().UTC().Truncate(time.Second)
	}
	only, err := filterOf(p)
	if err != nil {
		return nil, err
	}
	if !only.IsZero() {
		st.only, st.filter = only, only.Matcher()
	}
	if p.TLS != nil {
		if st.keyring, err = newKeyring(p, s.opts.Files, s.opts.Log); err != nil {
			return nil, err
		}
		st.params = p.WithoutSecrets()
	}
	if st.declared, err = declaredProbes(p); err != nil {
		return nil, err
	}
	st.over, st.end = context.WithCancel(s.taken)
	holder := s.opts.Holder
	holder.Since = st.since
	if err := s.opts.Ports.claim(st, holder); err != nil {
		st.end()
		return nil, err
	}
	return st, nil
}

// filterOf reads a subscription's filter, the zero value for none. An error is a *wire.Refusal.
func filterOf(p wire.SubscribeParams) (filter.Filter, error) {
	if len(p.Filter) == 0 {
		return filter.Filter{}, nil
	}
	if !p.Requests {
		return filter.Filter{}, &wire.Refusal{Errno: syscall.EINVAL, Text: fmt.Sprintf("%s port %d: a filter is for requests, and whole connections are asked for", p.Mode, p.Port)}
	}
	only, err := filter.Parse(p.Filter)
	if err != nil {
		return filter.Filter{}, &wire.Refusal{Errno: syscall.EINVAL, Text: fmt.Sprintf("%s port %d: the filter: %v", p.Mode, p.Port, err)}
	}
	return only, nil
}

// release gives the requests back to the target at once.
func (st *steal) release() error {
	st.end()
	return st.session.opts.Ports.leave(st)
}

func (st *steal) suspend(on bool) error { return st.port.rule.Suspend(on) }

// errSilent says that the adapter is not asked, because it does not answer.
var errSilent = errors.New("the adapter is silent")

// unheardError says that no answer of the adapter was waited for any longer, be it that the session ended or that it is late.
type unheardError struct {
	text string
	late bool
}

func (e *unheardError) Error() string { return e.text }

// offer asks the adapter to take a connection or a request, and sends the first bytes with the question. await waits for the
// answer; nothing that is sent before is delivered before.
func (st *steal) offer(h wire.Header, first []byte, wait time.Duration) (stream Stream, await func() error, err error) {
	s := st.session
	if st.over.Err() != nil {
		return nil, nil, context.Cause(st.over)
	}
	if !s.silence.ask() {
		return nil, nil, errSilent
	}
	// Not ended by Unsubscribe: the adapter may have taken it already.
	ctx, cancel := context.WithTimeout(s.taken, s.opts.OpenTimeout+wait)
	heard := func() {
		s.silence.heard(!errors.Is(ctx.Err(), context.DeadlineExceeded))
		cancel()
	}
	h.Port, h.Subscription = st.params.Port, st.id
	if stream, err = s.begin(ctx, h, first); err != nil {
		heard()
		return nil, nil, err
	}
	return stream, func() error {
		defer heard()
		err := stream.Await(ctx)
		if err != nil && ctx.Err() != nil {
			// Its cause may look like a refusal, which nobody has said.
			err = &unheardError{err.Error(), errors.Is(ctx.Err(), context.DeadlineExceeded)}
		}
		return err
	}, nil
}

// join has the adapter and a client talk until both are done.
func (st *steal) join(client, stream splice.Conn) (splice.Stats, error) {
	return splice.Join(st.session.taken, client, stream, splice.Options{Buffers: st.session.opts.Memory.buffers})
}
