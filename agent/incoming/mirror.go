//go:build linux

package incoming

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"syscall"

	"podstep.dev/agent/incoming/capture"
	"podstep.dev/internal/filter"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// mirrors is the one capture behind all mirrored ports of a session; the session's mu guards it.
type mirrors struct {
	capture *capture.Capture
	// free gives the capture's memory back after its end.
	free  func()
	ports map[uint16]mirrored
}

// mirrored is what is known of a mirrored port.
type mirrored struct {
	id       uint64 // of the subscription
	loopback bool
	probes   probes
	// filter says which requests are copied, nil: all that clients send.
	filter *filter.Matcher
	// over is set when the subscription has ended.
	over *atomic.Bool
}

// mirror is a mirrored port.
type mirror struct {
	session *Subscriptions
	port    uint16
	over    *atomic.Bool
}

// startMirror adds a port to the capture, which begins with the first. The caller holds mu.
func (s *Subscriptions) startMirror(id uint64, p wire.SubscribeParams) (subscription, error) {
	if p.TLS != nil {
		_, err := newKeyring(p, s.opts.Files, s.opts.Log)
		return nil, err
	}
	port := p.Port
	if _, ok := s.mirrors.ports[port]; ok {
		return nil, &wire.Refusal{Errno: syscall.EEXIST, Text: fmt.Sprintf("port %d is mirrored by this session already", port)}
	}
	only, err := filterOf(p)
	if err != nil {
		return nil, err
	}
	m := mirrored{id: id, loopback: p.Loopback, probes: newProbes(p.Probes), over: &atomic.Bool{}}
	if !only.IsZero() {
		m.filter = only.Matcher()
	}
	ports := maps.Clone(s.mirrors.ports)
	if ports == nil {
		ports = map[uint16]mirrored{}
	}
	ports[port] = m
	if err := s.watch(ports); err != nil {
		return nil, refuseMirror(port, err)
	}
	return &mirror{session: s, port: port, over: m.over}, nil
}

// watch makes the capture read exactly these ports. The caller holds mu.
func (s *Subscriptions) watch(ports map[uint16]mirrored) error {
	list := make([]capture.Port, 0, len(ports))
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		list = append(list, capture.Port{Number: port, Loopback: ports[port].loopback})
	}
	if s.mirrors.capture != nil {
		if err := s.mirrors.capture.Watch(list); err != nil {
			return err
		}
		s.mirrors.ports = ports
		return nil
	}
	opts := capture.Options{
		Log: s.opts.Log.Named("capture"), Lost: s.lost, Judge: s.judge, Sieve: s.sift, Older: s.older,
		Connections: s.opts.Memory.connections,
	}
	free, err := s.opts.Memory.mirror(&opts)
	if err != nil {
		return err
	}
	c, err := capture.Start(s.taken, list, s.copy, opts)
	if err != nil {
		free()
		return err
	}
	s.mirrors = mirrors{capture: c, free: free, ports: ports}
	return nil
}

// judge leaves probes out: a copy of one would stop the debuggee at a breakpoint every few seconds, for nobody's request.
func (s *Subscriptions) judge(port uint16, head []byte) capture.Verdict {
	s.mu.Lock()
	m := s.mirrors.ports[port]
	s.mu.Unlock()
	if m.filter != nil {
		// It has no sieve: it is older than the subscription, which followed one without a filter.
		s.unread.add(m.id, wire.UnreadOld)
		return capture.LeaveOut
	}
	switch m.probes.judge(head) {
	case undecided:
		return capture.Undecided
	case isProbe:
		return capture.LeaveOut
	default:
		return capture.Copy
	}
}

// copy opens the stream for one mirrored connection, or for one request of HTTP/2.
func (s *Subscriptions) copy(ctx context.Context, o capture.Origin) (splice.Conn, error) {
	port := o.To.Port()
	s.mu.Lock()
	m, ok := s.mirrors.ports[port]
	s.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("port %d is not mirrored", port)
	}
	h := wire.Header{Kind: wire.KindCopy, Port: port, From: o.From, To: o.To, Subscription: m.id}
	sifter, sifted := o.Sieve.(*sifter)
	if sifted && o.Copy != 0 {
		h.Kind, h.Protocol, h.Connection, h.Request = wire.KindRequestCopy, wire.HTTP2, sifter.sit(), s.requests.Add(1)
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.OpenTimeout)
	defer cancel()
	stream, err := s.begin(ctx, h, nil)
	if err != nil {
		return nil, err
	}
	if err := stream.Await(ctx); err != nil {
		if h.Kind == wire.KindRequestCopy && errors.Is(err, syscall.EOPNOTSUPP) {
			sifter.count(wire.UnreadHTTP2) // an adapter of before
		}
		return nil, err
	}
	return stream, nil
}

// lost tells losses once, under the oldest mirror: the kernel does not say whose packets it dropped.
func (s *Subscriptions) lost(packets, connections uint64) {
	s.mu.Lock()
	var oldest uint64
	for _, m := range s.mirrors.ports {
		if oldest == 0 || m.id < oldest {
			oldest = m.id
		}
	}
	s.mu.Unlock()
	if oldest > 0 {
		s.opts.Lost(wire.LostParams{ID: oldest, Packets: packets, Connections: connections})
	}
}

// release takes the port out of the capture; with the last one the capture ends.
func (m *mirror) release() error {
	s := m.session
	m.over.Store(true)
	s.mu.Lock()
	ports := maps.Clone(s.mirrors.ports)
	delete(ports, m.port)
	if len(ports) > 0 {
		defer s.mu.Unlock()
		return s.watch(ports)
	}
	c, free := s.mirrors.capture, s.mirrors.free
	s.mirrors = mirrors{}
	s.mu.Unlock()
	defer free()
	// Outside the lock: copies that are being opened ask for it.
	return c.Close()
}

// suspend does nothing: a mirror holds up nobody.
func (m *mirror) suspend(bool) error { return nil }

func refuseMirror(port uint16, err error) error {
	r := &wire.Refusal{Errno: errnoOf(err), Text: fmt.Sprintf("mirror port %d: %v", port, err)}
	var crowded *wire.Refusal
	switch {
	case errors.As(err, &crowded):
		r.Text = fmt.Sprintf("mirror port %d: %s", port, crowded.Text)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		r.Reason = wire.ReasonDenied
		r.Text = fmt.Sprintf("mirror port %d: the agent lacks the capability NET_RAW", port)
	case errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.EPROTONOSUPPORT), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOPROTOOPT):
		r.Reason = wire.ReasonUnsupported
		r.Text = fmt.Sprintf("mirror port %d: the kernel lacks packet sockets with a ring (CONFIG_PACKET): %v", port, err)
	}
	return r
}
