//go:build linux

package incoming

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// How long a connection to a port with probes waits before it is offered whole. headPatience is for the client's first bytes:
// kubelets send at once, and of others only those pay that wait for the server to speak first. restPatience is for the
// rest of what begins as a probe does.
const (
	headPatience = 200 * time.Millisecond
	restPatience = 5 * time.Second
)

// connection is one that was diverted.
type connection struct {
	*port
	log      *zap.Logger
	client   *early
	from, to netip.AddrPort
	// tls is what was taken off, nil when nothing was.
	tls *unwrapped
	// passed says that all of it is the target's, whoever claims the port.
	passed atomic.Bool
}

// serve has the connection answered by whoever it is for.
func (p *port) serve(conn *net.TCPConn, from, to netip.AddrPort, crowded bool) {
	log := p.log.With(zap.Uint16("port", p.number), zap.Stringer("from", from), zap.Stringer("to", to))
	client, err := p.memory.accepted(conn)
	if err != nil {
		log.Debug("client's connection", zap.Error(err))
	}
	c := &connection{port: p, log: log, client: newEarly(client, p.memory.firsts), from: from, to: to}
	defer c.client.conn.free()
	defer c.client.drop()
	defer p.noteConnection(c)()
	claims := p.claimed()
	switch {
	case crowded:
		log.Debug("too many connections")
		countUnread(claims, wire.UnreadCrowded)
		c.pass()
	case len(claims) == 0:
		log.Debug("not offered")
		c.pass()
	case claims[0].params.Requests:
		c.talk()
	default:
		// The one claim of an adapter that takes connections whole.
		c.whole(claims[0])
	}
}

// whole offers the connection to the adapter and passes it through when the adapter does not take it. A probe is not
// offered, nor is what comes while the adapter is silent.
func (c *connection) whole(st *steal) {
	if c.isProbe(st.probes) || !st.session.visit() {
		c.log.Debug("not offered")
		c.pass()
		return
	}
	taken := sync.OnceFunc(st.session.visits.Done)
	defer taken()
	stream, err := c.offer(st)
	if err != nil {
		taken()
		c.log.Debug("passthrough", zap.Error(err))
		c.pass()
		return
	}
	c.log.Debug("stolen")
	stats, err := st.join(c.client.rest(), stream)
	c.log.Debug("stolen connection ended", zap.Int64("received", stats.AToB), zap.Int64("sent", stats.BToA), zap.Error(err))
}

// isProbe waits for the beginning of what the client sends where the port has probes, and says whether it is one.
func (c *connection) isProbe(probes probes) bool {
	if len(probes) == 0 {
		return false
	}
	c.client.look(headPatience, func(head []byte) bool { return len(head) > 0 })
	if len(c.client.kept) > 0 {
		c.client.look(restPatience, func(head []byte) bool { return probes.judge(head) != undecided })
	}
	return probes.judge(c.client.kept) == isProbe
}

// offer asks the adapter to take the connection, and forwards what the client sends meanwhile.
func (c *connection) offer(st *steal) (splice.Conn, error) {
	stream, await, err := st.offer(wire.Header{Kind: wire.KindIncoming, From: c.from, To: c.to}, c.client.first(), 0)
	if err != nil {
		return nil, err
	}
	forwarded := make(chan struct{})
	c.connections.Go(func() {
		defer close(forwarded)
		c.client.forward(stream)
	})
	err = await()
	c.client.stop()
	if err != nil {
		return nil, err
	}
	<-forwarded
	c.client.drop()
	return stream, nil
}

// dial connects to the target's own listener, by what the client's connection was.
func (c *connection) dial(ctx context.Context) (socket, error) {
	if c.tls != nil {
		return c.tls.dial(ctx, c)
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// connect connects to the target's own listener, which sees the true client.
func (c *connection) connect(ctx context.Context) (*width, error) {
	target, err := c.clients.Dial(ctx, c.from.Addr(), c.to)
	if err != nil {
		return nil, err
	}
	return c.memory.width(target), nil
}

// pass joins the connection with the target's own listener.
func (c *connection) pass() {
	c.passed.Store(true)
	server, err := c.connect(c.life)
	if err != nil {
		c.log.Debug("passthrough failed", zap.Error(err))
		splice.Reset(c.client.conn)
		return
	}
	defer server.free()
	stats, err := splice.Join(c.life, c.client.deliver(server), server, splice.Options{Buffers: c.memory.buffers})
	c.log.Debug("passed connection ended", zap.Int64("received", stats.AToB), zap.Int64("sent", stats.BToA), zap.Error(err))
}
