// Package cluster reaches targets in a Kubernetes cluster: it finds the workload, follows its pods, and gets an agent
// beside each. It only joins its rooms: api connects, workload finds, attach gets the agent there.
package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/attach"
	"podstep.dev/adapter/cluster/attach/exec"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/program"
)

// image is the agent's when the configuration names none: that of this release.
const image = "podstep.dev/agent:"

// Provider finds targets in clusters. The zero value works.
type Provider struct {
	// Log receives the provider's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Holder says for whom sessions are: "alice@laptop". It is written into the Events of borrowed pods.
	Holder string
	// Session is the sessions' id, as agents hear it.
	Session string
	// Transport is the only one that agents are reached by: exec.WebSocket or exec.SPDY. If empty, both are tried.
	Transport string
}

var _ place.Provider = Provider{}

// Find connects to the cluster and looks the block's target up. Errors are *fault.Fault.
func (p Provider) Find(ctx context.Context, m config.Mirror, say func(string)) (place.Target, error) {
	wanted, err := config.ParseTarget(m.Target)
	if err != nil {
		return nil, err
	}
	log := p.Log
	if log == nil {
		log = zap.NewNop()
	}
	log = log.Named("cluster")
	c, err := api.Connect(api.Options{Kubeconfig: m.Kubeconfig, Context: m.Context, Namespace: m.Namespace, Log: log})
	if err != nil {
		return nil, err
	}
	attacher := &attach.Attacher{
		Cluster: c, Log: log, Say: say, Agent: m.Agent, Image: image + program.Version(),
		Exec: &exec.Dialer{Config: c.Config, Client: c.Client.CoreV1().RESTClient(), Log: log.Named("agent"), Transport: p.Transport},
	}
	t := &target{ctx: context.WithoutCancel(ctx), cluster: c, log: log, mirror: m, holder: p.Holder, session: p.Session, attacher: attacher, pods: map[string]*pod{}, revoked: make(chan place.Revocation, 1), heard: map[string]bool{}}
	if wanted.Kind == config.KindTargetless {
		return &nowhere{t}, nil
	}
	if err := t.find(ctx, wanted); err != nil {
		_ = c.Close()
		return nil, err
	}
	return t, nil
}

// target is a workload that was found. Its goroutines: the one that Places starts, and those that leave Events.
type target struct {
	ctx      context.Context //nolint:containedctx // of Find, without its end: for what Close does
	cluster  *api.Cluster
	log      *zap.Logger
	mirror   config.Mirror
	holder   string
	session  string
	attacher *attach.Attacher
	workload *workload.Workload

	events sync.WaitGroup
	// revoked has room for one.
	revoked chan place.Revocation

	mu   sync.Mutex
	pods map[string]*pod // by ID, all there ever were
	// heard are the revocations that were sent, in words: several pods may have the same one.
	heard map[string]bool
}

func (t *target) find(ctx context.Context, wanted config.Target) (err error) {
	t.workload, err = workload.Find(ctx, t.cluster, wanted, workload.Options{
		Log: t.log, One: t.mirror.Pods == config.PodsOne, Incoming: t.mirror.Incoming.Mode != config.ModeOff, Pods: t.lookForRevocations,
	})
	if err != nil {
		return err
	}
	if t.mirror.Incoming.Mode != config.ModeSteal {
		return nil
	}
	for _, i := range t.workload.Instances() {
		if err := t.stealDenied(i.Steal, fmt.Sprintf("%s (%s)", t.workload, i)); err != nil {
			return err
		}
		if r, is := workload.Revoked(i.Pod, t.session, t.holder, time.Now()); is {
			return r.Fault(fmt.Sprintf("%s (%s)", t.workload, i))
		}
	}
	return nil
}

// stealDenied is what the annotations say to a session that wants to steal.
func (t *target) stealDenied(policy workload.Steal, what string) error {
	switch {
	case policy == workload.StealDeny:
		return fault.New(fault.StealDenied, fmt.Sprintf("the requests of %s may not be stolen", what), nil)
	case policy == workload.StealFilteredOnly && t.mirror.Incoming.Filter.IsZero():
		return fault.New(fault.StealDenied, fmt.Sprintf("the requests of %s may be stolen only by a filter", what), nil)
	}
	return nil
}

// Places follows the workload's pods.
func (t *target) Places(ctx context.Context) <-chan []place.Place {
	places := make(chan []place.Place)
	go func() {
		defer close(places)
		for instances := range t.workload.Watch(ctx) {
			select {
			case places <- t.places(instances):
			case <-ctx.Done():
				return
			}
		}
	}()
	return places
}

func (t *target) places(instances []workload.Instance) []place.Place {
	t.mu.Lock()
	defer t.mu.Unlock()
	places := make([]place.Place, 0, len(instances))
	for _, i := range instances {
		p := t.pods[i.ID()]
		if p == nil {
			p = newPod(t, i)
			t.pods[i.ID()] = p
		}
		places = append(places, p)
	}
	return places
}

// Err says why the workload is followed no more.
func (t *target) Err() error { return t.workload.Err() }

// Close leaves the Events of the end, and removes the agents' jobs that have no more to do.
func (t *target) Close() error {
	t.mu.Lock()
	pods := make([]*pod, 0, len(t.pods))
	for _, p := range t.pods {
		pods = append(pods, p)
	}
	t.mu.Unlock()
	for _, p := range pods {
		p.returned()
	}
	err := t.attacher.Leave(t.ctx)
	t.events.Wait()
	_ = t.cluster.Close()
	return err
}
