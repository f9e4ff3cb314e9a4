//go:build linux

package incoming

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

const (
	// handshakePatience is for a client's handshake, from its first byte on, and for one that says nothing yet: on a port whose TLS is taken
	// off it is the client that speaks first.
	handshakePatience = 10 * time.Second
	// mostPatience bounds what a slow handshake adds to firstPatience.
	mostPatience = 250 * time.Millisecond
	// unwrappedCost is what the TLS of a client and of the target takes in bytes, most of it for a record of each that is read: 16 KiB, for which
	// package tls has twice the room (see TestUnwrappedConnectionsTakeTheMemoryTheyAreChargedFor).
	unwrappedCost = 80 << 10
	// maxServerName is the longest name of a host (RFC 1035 §2.3.4).
	maxServerName = 255
)

// unwrapped is the TLS that a connection had.
type unwrapped struct {
	wire.Secured
	// target is how TLS is made towards the target, as the client would have.
	target *tls.Config
	// kept is the connection to the target on which it was found out what that chooses, until it is needed.
	kept *secured
	// unproven : the target asks clients for a certificate, and this one has shown none.
	unproven bool
	// patience is for the client's first bytes, beside firstPatience: by TLS 1.2 they come a round trip after the handshake.
	patience time.Duration
	// refused is called when the target does not take the certificate that it was shown in place of the client's; nil when none was.
	refused func()
	// clientCut and targetCut say who ended a half without close_notify.
	clientCut, targetCut atomic.Bool
}

// keyrings are those of the sessions that have TLS taken off.
func (c *connection) keyrings() (rings []*keyring) {
	for _, st := range c.port.claimed() {
		if st.keyring != nil {
			rings = append(rings, st.keyring)
		}
	}
	return rings
}

// claimed are the claims of what the connection carries: of what was TLS only those that had it taken off, and none of a client that did
// not say who it is to a target that asks.
func (c *connection) claimed() []*steal {
	all := c.port.claimed()
	switch {
	case c.tls == nil:
		return all
	case c.tls.unproven:
		return nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(st *steal) bool { return st.keyring == nil })
}

// patience is for a client's first bytes, before it is taken for one that waits for the server to speak first.
func (c *connection) patience() time.Duration {
	if c.tls == nil {
		return firstPatience
	}
	return firstPatience + c.tls.patience
}

// wasTLS is for a stream's header.
func (c *connection) wasTLS() *wire.Secured {
	if c.tls == nil {
		return nil
	}
	return &c.tls.Secured
}

// talk serves a connection of requests, without its TLS where that is wanted.
func (c *connection) talk() {
	rings := c.keyrings()
	if len(rings) == 0 {
		c.converse()
		return
	}
	stop := contextAfter(c.life, c.client.conn.Reset)
	c.client.look(handshakePatience, func(head []byte) bool { return len(head) > 1 || len(head) == 1 && !sieve.IsTLS(head) })
	stop()
	if !sieve.IsTLS(c.client.kept) {
		c.converse()
		return
	}
	for _, r := range rings {
		if why := r.avoids(); why != "" {
			c.wrapped(why)
			return
		}
	}
	if !c.memory.mirrors.takeAll(unwrappedCost) {
		c.wrapped(wire.UnreadTLSMemory)
		return
	}
	give := sync.OnceFunc(func() { c.memory.mirrors.give(unwrappedCost) })
	defer give()
	switch off, why := c.unwrap(rings); {
	case off:
		defer c.client.drop()
		c.converse()
		c.tls.dropKept()
	case why != "":
		give()
		c.wrapped(why)
	}
}

// wrapped leaves a connection that is TLS to the target, as it is, and counts it.
func (c *connection) wrapped(why wire.Unread) {
	c.tellTLS(why)
	c.log.Debug("stays TLS", zap.String("why", string(why)))
	c.pass()
}

// tellTLS counts a connection for all sessions that wanted its TLS off.
func (c *connection) tellTLS(why wire.Unread) {
	for _, st := range c.port.claimed() {
		if st.keyring != nil {
			st.session.unread.add(st.id, why)
		}
	}
}

// unwrap takes the TLS off, and says whether it could. Else the connection is over, or why says why it stays TLS.
func (c *connection) unwrap(rings []*keyring) (off bool, why wire.Unread) {
	below := c.client.conn.(*width) // TLS is not taken off twice
	h := &handshake{
		connection: c, rings: rings, deadline: time.Now().Add(handshakePatience),
		conn: &carrier{width: below, early: c.client, undecided: true}, tls: &unwrapped{},
	}
	server := tls.Server(h.conn, &tls.Config{GetConfigForClient: h.decide})
	_ = below.SetDeadline(h.deadline)
	stop := contextAfter(c.life, below.Reset)
	err := server.Handshake()
	stop()
	_ = below.SetDeadline(time.Time{})
	switch {
	case err != nil && h.conn.undecided:
		h.tls.dropKept()
		if h.why == "" {
			h.why = wire.UnreadTLS // as far as it came
		}
		c.log.Debug("TLS", zap.Error(err))
		return false, h.why
	case err != nil:
		h.tls.dropKept()
		c.log.Debug("TLS", zap.Error(err))
		c.tellTLS(whyFailed(err))
		below.hangUp()
		return false, ""
	}
	h.begin(server)
	return true, ""
}

// over makes TLS over a connection to the target, which it owns.
func (u *unwrapped) over(ctx context.Context, conn *width, deadline time.Time) (*secured, error) {
	below := &carrier{width: conn}
	client := tls.Client(below, u.target)
	_ = conn.SetDeadline(deadline)
	if err := client.HandshakeContext(ctx); err != nil {
		conn.hangUp()
		conn.free()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	u.targetCut.Store(false)
	return &secured{Conn: client, below: below, cut: &u.targetCut, otherCut: &u.clientCut, target: u}, nil
}

// dial makes another connection to the target, or takes the one that there is.
func (u *unwrapped) dial(ctx context.Context, c *connection) (socket, error) {
	if kept := u.takeKept(); kept != nil {
		return kept, nil
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	target, err := u.over(ctx, conn, time.Now().Add(handshakePatience))
	if err != nil {
		return nil, fmt.Errorf("TLS with the target: %w", err)
	}
	return target, nil
}

func (u *unwrapped) takeKept() *secured {
	kept := u.kept
	u.kept = nil
	return kept
}

func (u *unwrapped) dropKept() {
	if kept := u.takeKept(); kept != nil {
		kept.drop()
	}
}

// drop ends a connection that nothing was said on.
func (s *secured) drop() {
	_ = s.Close()
	s.free()
}

// meet uses the connection that was made to the target, or ends it: it is read from here on where the target may have the first word.
func (v *conversation) meet() error {
	if v.tls == nil || v.tls.kept == nil {
		return nil
	}
	if st := v.all(); st != nil && st.takes() {
		v.tls.dropKept()
		return nil
	}
	_, err := v.toTarget()
	return err
}

var _ splice.Conn = &secured{}
