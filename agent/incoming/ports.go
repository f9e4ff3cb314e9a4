//go:build linux

package incoming

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent/incoming/redirect"
	"podstep.dev/internal/filter"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// lateHandshakes is how long at most a listener whose rule is gone waits for handshakes that are under way: longer than a
// round trip to most clients, shorter than the agent's own end may take.
const lateHandshakes = 500 * time.Millisecond

// Ports are the stolen ports of an agent: the kernel's rules, what sessions claim of each port, and the connections that
// came in. Sessions share a port when no request can be both's. A connection outlives the sessions that had requests of it: what it
// sends after that is the target's.
//
// Its goroutines are those of package redirect, up to three for each connection, and one for each listener that still drains; Close
// waits for all.
type Ports struct {
	log    *zap.Logger
	memory *Memory
	begun  sync.Once
	// life ends the connections.
	life        context.Context //nolint:containedctx // the lifetime that all connections share
	cut         context.CancelCauseFunc
	connections sync.WaitGroup
	draining    sync.WaitGroup

	mu    sync.Mutex
	ports map[uint16]*port
	// clients is there as long as anything uses it: users counts listeners and connections.
	clients *redirect.Clients
	users   int
	// under are the connections under way.
	under map[*connection]bool
}

// port is a stolen port.
type port struct {
	*Ports
	number   uint16
	loopback bool
	rule     *redirect.Steal
	// claims are those of sessions; the slice is replaced, never changed.
	claims atomic.Pointer[[]*steal]
}

// NewPorts has none yet. memory is what the connections may take of the pod's. If log is nil, nothing is logged.
func NewPorts(log *zap.Logger, memory *Memory) *Ports {
	if log == nil {
		log = zap.NewNop()
	}
	return &Ports{log: log, memory: memory, ports: map[uint16]*port{}, under: map[*connection]bool{}}
}

// begin is called for each session, with a context that does not end with it.
func (ps *Ports) begin(ctx context.Context) {
	ps.begun.Do(func() { ps.life, ps.cut = context.WithCancelCause(ctx) })
}

// Close lets connections finish until ctx ends, then resets them. No session may claim anything any more. It returns when
// nothing is left.
func (ps *Ports) Close(ctx context.Context) error {
	ps.begin(ctx)
	hangUp := context.AfterFunc(ctx, func() { ps.cut(ErrEnded) })
	defer hangUp()
	ps.draining.Wait()
	ps.connections.Wait()
	ps.cut(ErrEnded)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.closeClients()
}

// claim adds a session's claim, which begins with the first to steal the port. A claim that another one excludes is a
// *wire.Refusal.
func (ps *Ports) claim(st *steal, holder wire.Holder) error {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if err := ps.needClients(); err != nil {
		return err
	}
	p := ps.ports[st.params.Port]
	if p == nil {
		return ps.open(st, holder)
	}
	claims := p.claimed()
	for _, other := range claims {
		if err := excludes(other, st); err != nil {
			return err
		}
	}
	if p.loopback != st.params.Loopback {
		return &wire.Refusal{Errno: syscall.EBUSY, Text: fmt.Sprintf("steal port %d: another session of this port sees the pod's sidecar differently", p.number)}
	}
	st.port = p
	p.set(append(slices.Clone(claims), st))
	return nil
}

// use counts a user of the passthrough table.
func (ps *Ports) use() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.users++
}

// unuse counts one out. With the last one, the kernel has nothing of the agent's any more.
func (ps *Ports) unuse() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.users--; ps.users > 0 {
		return
	}
	if err := ps.closeClients(); err != nil {
		ps.log.Warn("close the passthrough table", zap.Error(err))
	}
}

// closeClients removes the passthrough table. The caller holds mu.
func (ps *Ports) closeClients() error {
	if ps.clients == nil {
		return nil
	}
	err := ps.clients.Close()
	ps.clients = nil
	return err
}

// needClients makes the passthrough table before the first steal, so that what is missing is known at once. It stays as long as
// there is a connection: the kernel stops translating open ones when it goes. The caller holds mu.
func (ps *Ports) needClients() error {
	if ps.clients != nil {
		return nil
	}
	clients, err := redirect.OpenClients()
	if err != nil {
		return err
	}
	ps.clients = clients
	return nil
}

// open steals a port for its first claim. The caller holds mu.
func (ps *Ports) open(st *steal, holder wire.Holder) error {
	p := &port{Ports: ps, number: st.params.Port, loopback: st.params.Loopback}
	st.port = p
	p.set([]*steal{st})
	rule, err := redirect.Start(p.number, p.accepted, redirect.Options{
		Log: ps.log, Holder: holder, Loopback: p.loopback,
		// Not here: the rule's release waits for the goroutine that tells of its loss.
		Lost: func(err error) { go p.lost(err) },
	})
	if err != nil {
		if ps.users == 0 {
			err = errors.Join(err, ps.closeClients())
		}
		return err
	}
	p.rule = rule
	ps.ports[p.number] = p
	ps.users++
	return nil
}

// excludes refuses a claim that could have the same request as another session's.
func excludes(other, st *steal) error {
	if other.filter != nil && st.filter != nil && filter.Disjoint(other.only, st.only) {
		return nil
	}
	held := other.session.opts.Holder
	held.Since = other.since
	refusal := redirect.Taken(st.params.Port, held)
	switch {
	case other.filter == nil:
		refusal.Text += "; " + other.session.pause()
	case st.filter == nil:
		refusal.Text += fmt.Sprintf(", requests with %s, and this session takes all; %s", other.only, other.session.pause())
	default:
		refusal.Text += fmt.Sprintf(", requests with %s; %s; %s", other.only, filter.Both(other.only, st.only), other.session.pause())
	}
	return refusal
}

// leave removes a claim. With the last one the port is free at once; its listener goes when late handshakes are done.
func (ps *Ports) leave(st *steal) error {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := st.port
	claims := slices.DeleteFunc(slices.Clone(p.claimed()), func(other *steal) bool { return other == st })
	p.set(claims)
	if len(claims) > 0 || ps.ports[p.number] != p {
		return nil
	}
	delete(ps.ports, p.number)
	err := p.rule.Release()
	ps.draining.Go(func() {
		defer ps.unuse()
		late, cancel := context.WithTimeout(ps.life, lateHandshakes)
		defer cancel()
		p.rule.Settle(late)
		if err := p.rule.Close(); err != nil {
			ps.log.Warn("close listener", zap.Uint16("port", p.number), zap.Error(err))
		}
	})
	return err
}

func (p *port) claimed() []*steal {
	if claims := p.claims.Load(); claims != nil {
		return *claims
	}
	return nil
}

func (p *port) set(claims []*steal) { p.claims.Store(&claims) }

// lost ends all claims: the rule is gone.
func (p *port) lost(err error) {
	for _, st := range p.claimed() {
		st.session.end(st.id, wire.Refusal{Errno: errnoOf(err), Text: "the kernel's rule is lost: " + err.Error()})
	}
}

// accepted serves one diverted connection in a goroutine of its own. It waits while there are too many.
func (p *port) accepted(conn *net.TCPConn, from, to netip.AddrPort) {
	crowded, ok := p.memory.enter(p.life.Done())
	if !ok {
		splice.Reset(conn)
		return
	}
	p.use()
	p.connections.Go(func() {
		defer p.unuse()
		defer p.memory.leave()
		p.serve(conn, from, to, crowded)
	})
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return syscall.EIO
}
