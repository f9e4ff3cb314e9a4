package borrow

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"time"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// dialPatience is how long the debuggee's connection waits for a link when there is none: as long as libc's resolver waits
// for an answer (resolv.conf(5), timeout).
const dialPatience = 5 * time.Second

// errNoLink is what the debuggee hears then.
var errNoLink = &wire.Refusal{Errno: syscall.EHOSTUNREACH, Text: "no link to the target"}

// outgoing is how the interception reaches the target's network: one stream for each connection of the debuggee, over the
// link that stands the longest.
type outgoing struct{ *Borrow }

// Dial connects as the target would. A refusal is a *wire.Refusal with the errno of the target's kernel.
func (o outgoing) Dial(ctx context.Context, to netip.AddrPort) (splice.Conn, netip.AddrPort, error) {
	stream, err := o.open(ctx, wire.Header{Kind: wire.KindDial, Address: to})
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	return stream, stream.Answer.Local, nil
}

// DNS opens a stream of DNS messages, answered as inside the target.
func (o outgoing) DNS(ctx context.Context) (splice.Conn, error) {
	stream, err := o.open(ctx, wire.Header{Kind: wire.KindDNS})
	if err != nil {
		return nil, err
	}
	return stream, nil
}

// open opens a stream, over another link when one dies meanwhile: nothing of the debuggee has been sent by then.
func (o outgoing) open(ctx context.Context, h wire.Header) (*mux.Stream, error) {
	deadline := time.Now().Add(dialPatience)
	for {
		l, err := o.oldest(ctx, deadline)
		if err != nil {
			return nil, err
		}
		stream, err := l.session.Open(ctx, h, nil)
		var refusal *wire.Refusal
		if err == nil || errors.As(err, &refusal) || ctx.Err() != nil || l.alive() {
			return stream, err
		}
	}
}

// oldest returns the link that stands the longest, or waits for one until deadline.
func (o outgoing) oldest(ctx context.Context, deadline time.Time) (*link, error) {
	for {
		l, changed := o.standing()
		if l != nil {
			return l, nil
		}
		timer := time.NewTimer(time.Until(deadline))
		select {
		case <-changed:
			timer.Stop()
		case <-timer.C:
			return nil, errNoLink
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}
