//go:build linux

package incoming

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent/incoming/redirect"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// lateHandshakes is how long at most a listener whose rule is gone waits for handshakes that are under way: longer than a
// round trip to most clients, shorter than the agent's own end may take.
const lateHandshakes = 500 * time.Millisecond

// How long a connection to a port with probes waits before it is offered. headPatience is for the client's first bytes:
// kubelets send at once, and of others only those pay that wait for the server to speak first. restPatience is for the
// rest of what begins as a probe does.
const (
	headPatience = 200 * time.Millisecond
	restPatience = 5 * time.Second
)

// steal is a stolen port.
type steal struct {
	session *Subscriptions
	id      uint64
	port    uint16
	probes  probes
	rule    *redirect.Steal
	// over is done when the subscription has ended; what is accepted after that is passed through.
	over context.Context
	end  context.CancelFunc
}

func (s *Subscriptions) startSteal(id uint64, p wire.SubscribeParams) (subscription, error) {
	if err := s.needClients(); err != nil {
		return nil, err
	}
	st := &steal{session: s, id: id, port: p.Port, probes: newProbes(p.Probes)}
	st.over, st.end = context.WithCancel(s.taken)
	holder := s.opts.Holder
	if holder.Since.IsZero() {
		holder.Since = time.Now().UTC().Truncate(time.Second)
	}
	rule, err := redirect.Start(p.Port, st.accepted, redirect.Options{
		Log: s.opts.Log, Holder: holder, Loopback: p.Loopback,
		Lost: func(err error) {
			// Not here: the rule's release waits for the goroutine that tells of its loss.
			go s.end(id, wire.Refusal{Errno: errnoOf(err), Text: "the kernel's rule is lost: " + err.Error()})
		},
	})
	if err != nil {
		st.end()
		return nil, err
	}
	st.rule = rule
	return st, nil
}

// needClients makes the passthrough table before the first steal, so that what is missing is known at once. It stays
// until Close: the kernel stops translating open connections when it goes. The caller holds mu.
func (s *Subscriptions) needClients() error {
	if s.clients != nil {
		return nil
	}
	clients, err := redirect.OpenClients()
	if err != nil {
		return err
	}
	s.clients = clients
	return nil
}

// release frees the port at once; the listener goes when late handshakes are done.
func (st *steal) release() error {
	err := st.rule.Release()
	st.end()
	st.session.draining.Go(func() {
		late, cancel := context.WithTimeout(st.session.passed, lateHandshakes)
		defer cancel()
		st.rule.Settle(late)
		if err := st.rule.Close(); err != nil {
			st.session.opts.Log.Warn("close listener", zap.Uint16("port", st.port), zap.Error(err))
		}
	})
	return err
}

func (st *steal) suspend(on bool) error { return st.rule.Suspend(on) }

// accepted serves one diverted connection in a goroutine of its own. It waits while there are too many.
func (st *steal) accepted(conn *net.TCPConn, from, to netip.AddrPort) {
	s := st.session
	crowded, ok := s.opts.Memory.enter(s.passed.Done())
	if !ok {
		splice.Reset(conn)
		return
	}
	s.connections.Go(func() {
		defer s.opts.Memory.leave()
		st.serve(conn, from, to, crowded)
	})
}

// serve offers the connection to the adapter and passes it through when the adapter does not take it. What is one too
// many is not offered, so that it does not wait for a debugger; nor is a probe, nor what comes while the adapter is silent.
func (st *steal) serve(conn *net.TCPConn, from, to netip.AddrPort, crowded bool) {
	s := st.session
	log := s.opts.Log.With(zap.Uint16("port", st.port), zap.Stringer("from", from), zap.Stringer("to", to))
	if err := redirect.Narrow(conn); err != nil {
		log.Debug("client's connection", zap.Error(err))
	}
	client := newEarly(s.opts.Memory.width(conn), s.opts.Memory.firsts)
	defer client.conn.free()
	defer client.drop()
	if crowded || st.isProbe(client) || !s.silence.ask() {
		log.Debug("not offered", zap.Bool("crowded", crowded))
		st.pass(log, client, from, to)
		return
	}
	stream, err := st.offer(client, from, to)
	if err != nil {
		log.Debug("passthrough", zap.Error(err))
		st.pass(log, client, from, to)
		return
	}
	log.Debug("stolen")
	stats, err := splice.Join(s.taken, client.rest(), stream, splice.Options{Buffers: s.opts.Memory.buffers})
	log.Debug("stolen connection ended", zap.Int64("received", stats.AToB), zap.Int64("sent", stats.BToA), zap.Error(err))
}

// isProbe waits for the beginning of what the client sends where the port has probes, and says whether it is one.
func (st *steal) isProbe(client *early) bool {
	if len(st.probes) == 0 {
		return false
	}
	client.look(headPatience, func(head []byte) bool { return len(head) > 0 })
	if len(client.kept) > 0 {
		client.look(restPatience, func(head []byte) bool { return st.probes.judge(head) != undecided })
	}
	return st.probes.judge(client.kept) == isProbe
}

// offer asks the adapter to take the connection, and forwards what the client sends meanwhile; nothing of it is delivered
// before the adapter has answered.
func (st *steal) offer(client *early, from, to netip.AddrPort) (splice.Conn, error) {
	s := st.session
	// Not ended by Unsubscribe: the adapter may have taken it already.
	ctx, cancel := context.WithTimeout(s.taken, s.opts.OpenTimeout)
	defer cancel()
	defer func() { s.silence.heard(!errors.Is(ctx.Err(), context.DeadlineExceeded)) }()
	if err := st.over.Err(); err != nil {
		return nil, context.Cause(st.over)
	}
	h := wire.Header{Kind: wire.KindIncoming, Port: st.port, From: from, To: to, Subscription: st.id}
	stream, err := s.begin(ctx, h, client.first())
	if err != nil {
		return nil, err
	}
	forwarded := make(chan struct{})
	s.connections.Go(func() {
		defer close(forwarded)
		client.forward(stream)
	})
	err = stream.Await(ctx)
	client.stop()
	if err != nil {
		return nil, err
	}
	<-forwarded
	client.drop()
	return stream, nil
}

// pass joins the connection with the target's own listener.
func (st *steal) pass(log *zap.Logger, client *early, from, to netip.AddrPort) {
	s := st.session
	target, err := s.clients.Dial(s.passed, from.Addr(), to)
	if err != nil {
		log.Debug("passthrough failed", zap.Error(err))
		splice.Reset(client.conn)
		return
	}
	server := s.opts.Memory.width(target)
	defer server.free()
	stats, err := splice.Join(s.passed, client.deliver(server), server, splice.Options{Buffers: s.opts.Memory.buffers})
	log.Debug("passed connection ended", zap.Int64("received", stats.AToB), zap.Int64("sent", stats.BToA), zap.Error(err))
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return syscall.EIO
}
