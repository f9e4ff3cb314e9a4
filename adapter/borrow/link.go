package borrow

import (
	"context"
	"net/netip"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// link is how the interception reaches the target's network: one stream for each connection of the debuggee.
type link struct{ session *mux.Session }

// Dial connects as the target would. A refusal is a *wire.Refusal with the errno of the target's kernel.
func (l link) Dial(ctx context.Context, to netip.AddrPort) (splice.Conn, netip.AddrPort, error) {
	stream, err := l.session.Open(ctx, wire.Header{Kind: wire.KindDial, Address: to}, nil)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	return stream, stream.Answer.Local, nil
}

// DNS opens a stream of DNS messages, answered as inside the target.
func (l link) DNS(ctx context.Context) (splice.Conn, error) {
	return l.session.Open(ctx, wire.Header{Kind: wire.KindDNS}, nil)
}
