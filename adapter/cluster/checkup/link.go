package checkup

import (
	"context"
	"fmt"
	"time"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/doctor"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/control"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/program"
	"podstep.dev/internal/wire"
)

// linkLimit bounds the check of the link: an agent's image may have to be pulled.
const linkLimit = 2 * time.Minute

// pings is how often the link's round trip is timed; the shortest counts.
const pings = 10

// link starts an agent that needs no capability, or joins the one that is there, and times the way to it.
func (c *Checkup) link(ctx context.Context, cluster *api.Cluster) doctor.Finding {
	m := config.Default()
	m.Target, m.Kubeconfig, m.Context, m.Namespace = c.opts.Target, c.opts.Kubeconfig, c.opts.Context, cluster.Namespace
	m.Pods, m.Agent, m.Incoming.Mode = config.PodsOne, c.opts.Agent, config.ModeOff
	target, err := c.opts.Provider.Find(ctx, m, func(string) {})
	if err != nil {
		return doctor.Of(doctor.Fail, err)
	}
	f := c.join(ctx, target)
	if err := target.Close(); err != nil && f.State == doctor.OK {
		return doctor.Of(doctor.Warn, err)
	}
	return f
}

func (c *Checkup) join(ctx context.Context, target place.Target) doctor.Finding {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var at place.Place
	for places := range target.Places(ctx) {
		if len(places) > 0 {
			at = places[0]
			break
		}
	}
	if at == nil {
		return doctor.Of(doctor.Fail, fault.Or(target.Err(), fault.NotReady, c.opts.Target+" has no pod that is ready"))
	}
	began := time.Now()
	conn, err := at.Attach(ctx)
	if err != nil {
		f := doctor.Of(doctor.Fail, err)
		if known := fault.As(err); known.ID == fault.AgentImage {
			f.Ask = fmt.Sprintf("image: a copy of %s that the nodes can pull; sessions then name it in \"agent\": {\"image\": ...}", c.opts.Image)
		}
		return f
	}
	session, err := mux.Start(ctx, conn, mux.AdapterSide, mux.Options{Log: c.opts.Log, Hello: wire.Hello{Program: "podstep " + program.Version()}})
	if err != nil {
		return doctor.Of(doctor.Fail, fault.Or(err, fault.AgentStart, "the agent does not greet"))
	}
	defer session.Close()
	stream, err := session.Open(ctx, wire.Header{Kind: wire.KindControl}, nil)
	if err != nil {
		return doctor.Of(doctor.Fail, fault.Or(err, fault.LinkLost, "the agent does not answer"))
	}
	agent := control.NewClient(ctx, stream, nil, c.opts.Log)
	defer func() {
		_ = agent.Leave(ctx, wire.LeaveParams{}) // without it the agent waits for the link to come back
		_ = agent.Close()
	}()
	opened := time.Since(began)
	least, err := roundTrip(ctx, agent)
	if err != nil {
		return doctor.Of(doctor.Fail, fault.Or(err, fault.LinkLost, "the agent does not answer"))
	}
	return doctor.Finding{State: doctor.OK, Found: fmt.Sprintf("agent of %s reached in %s, %s a round trip", at, opened.Round(time.Millisecond), least.Round(10*time.Microsecond))}
}

func roundTrip(ctx context.Context, agent *control.Client) (time.Duration, error) {
	var least time.Duration
	for range pings {
		began := time.Now()
		if _, err := agent.Describe(ctx, wire.DescribeParams{}); err != nil {
			return 0, err
		}
		if took := time.Since(began); least == 0 || took < least {
			least = took
		}
	}
	return least, nil
}
