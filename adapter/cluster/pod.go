package cluster

import (
	"context"
	"io"
	"sync"
	"time"

	"podstep.dev/adapter/cluster/attach"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
)

// pod is one start of the borrowed container in one pod.
type pod struct {
	target   *target
	id       string
	incoming place.Incoming
	instance attach.Instance

	mu    sync.Mutex
	tried bool
	// since is when the session had all that it asked for; zero before.
	since   time.Time
	refused bool
}

var (
	_ place.Place   = (*pod)(nil)
	_ place.Witness = (*pod)(nil)
)

func newPod(t *target, i workload.Instance) *pod {
	return &pod{
		target: t, id: i.ID(), incoming: place.Incoming{Probes: i.Probes, Loopback: i.Loopback},
		instance: attach.Instance{Pod: i.Pod, Container: i.Container, ID: i.ContainerID, Needs: attach.NeedsOf(t.mirror, attach.Policy(i.Steal))},
	}
}

// ID is the pod's and the container's.
func (p *pod) ID() string { return p.id }

// String is "pod/web-0".
func (p *pod) String() string { return p.instance.String() }

// Lasting : the pod's container goes on when a link breaks.
func (p *pod) Lasting() bool { return true }

// Incoming tells of probes and of sidecars.
func (p *pod) Incoming() place.Incoming { return p.incoming }

// Attach gets a link to an agent beside the container.
func (p *pod) Attach(ctx context.Context) (io.ReadWriteCloser, error) {
	in := p.instance
	if p.again() {
		// What was seen of the pod is as old as the session.
		var err error
		if in, err = p.target.attacher.Refresh(ctx, in); err != nil {
			return nil, err
		}
	}
	link, err := p.target.attacher.Attach(ctx, in)
	if err != nil {
		return nil, err
	}
	return link, nil
}

// again tells every call but the first.
func (p *pod) again() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.tried = true }()
	return p.tried
}

// Held leaves the Event of the beginning, once.
func (p *pod) Held() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		p.since = time.Now()
		p.record(attach.Event{Reason: attach.Borrowed, Since: p.since})
	}
}

// Refused leaves an Event of a session that did not get what it asked for, once, unless it borrows the pod already.
func (p *pod) Refused(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() && !p.refused {
		p.refused = true
		p.record(attach.Event{Reason: attach.Refused, Since: time.Now(), Why: fault.As(why).Summary()})
	}
}

// Yielded leaves an Event of ports that were given back.
func (p *pod) Yielded(ports []uint16, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.record(attach.Event{Reason: attach.Yielded, Since: time.Now(), Ports: ports, Why: why})
}

// returned leaves the Event of the end.
func (p *pod) returned() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.since.IsZero() {
		p.record(attach.Event{Reason: attach.Returned, Since: p.since, Until: time.Now()})
	}
}

func (p *pod) record(e attach.Event) {
	t := p.target
	e.Holder, e.Incoming = t.holder, t.mirror.Incoming
	t.events.Go(func() { t.attacher.Record(t.ctx, p.instance, e) })
}
