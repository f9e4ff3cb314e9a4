// Package checkup is the cluster's part of podstep doctor: whether the cluster is reached, what the user may do there, what the
// namespace's policies allow, and whether an agent would be admitted. It changes nothing; only the check of the link, which is
// asked for by naming a target, starts an agent.
package checkup

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/rbac"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/doctor"
	"podstep.dev/adapter/place"
)

// Group is the heading of these checks.
const Group = "cluster"

// Options of Checks. Image is required.
type Options struct {
	// Log receives lines. If nil, nothing is logged.
	Log *zap.Logger
	// Kubeconfig, Context and Namespace are as in a "mirror" block: empty is kubectl's.
	Kubeconfig, Context, Namespace string
	// Target is borrowed for the check of the link: "deployment/web". If empty, that check is left out, and another running pod of the
	// namespace stands for it in the dry runs.
	Target string
	// Agent says where the agent would run.
	Agent config.Agent
	// Image is the agent's, when Agent names none.
	Image string
	// Provider reaches Target. Required if there is one.
	Provider place.Provider
}

// Checkup is one visit. Its checks share one connection and what they learn.
type Checkup struct {
	opts    Options
	connect func() (*api.Cluster, error)

	user    once[string]
	missing once[[]rbac.Missing]
	level   once[namespace]
	sample  once[sample]
}

// New makes a visit. Nothing is asked before its checks run. The caller closes it after them.
func New(o Options) *Checkup {
	if o.Agent.Kind == "" {
		o.Agent.Kind = config.AgentAuto
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	c := &Checkup{opts: o}
	c.connect = sync.OnceValues(func() (*api.Cluster, error) {
		return api.Connect(api.Options{Kubeconfig: o.Kubeconfig, Context: o.Context, Namespace: o.Namespace, Log: o.Log})
	})
	return c
}

// Checks are the visit's, in the order in which a person looks for a cause.
func (c *Checkup) Checks() []doctor.Check {
	check := func(name string, run func(context.Context, *api.Cluster) doctor.Finding) doctor.Check {
		return doctor.Check{Group: Group, Name: name, Run: c.reached(run)}
	}
	checks := []doctor.Check{
		{Group: Group, Name: "kubeconfig", Run: func(context.Context) doctor.Finding { return c.kubeconfig() }},
		{Group: Group, Name: "server", Run: c.server},
		check("may find targets", c.may(rbac.EverySession, rbac.Workloads)),
		check("may start an ephemeral agent", c.mayEphemeral),
		check("may start a job agent", c.mayJob),
		check("pod security", c.podSecurity),
		check("steal annotation", c.steal),
		check("agent image", c.image),
		check("ephemeral agent", c.dryEphemeral),
		check("job agent", c.dryJob),
	}
	if c.opts.Target != "" {
		checks = append(checks, doctor.Check{Group: Group, Name: "link", Limit: linkLimit, Run: c.reached(c.link)})
	}
	return checks
}

// Close drops the connection.
func (c *Checkup) Close() error {
	cluster, err := c.connect()
	if err != nil {
		return nil //nolint:nilerr // it was a finding
	}
	return cluster.Close()
}

// reached leaves a check out when there is no connection: the reason was told by the checks before.
func (c *Checkup) reached(run func(context.Context, *api.Cluster) doctor.Finding) func(context.Context) doctor.Finding {
	return func(ctx context.Context) doctor.Finding {
		cluster, err := c.connect()
		if err == nil {
			_, err = c.who(ctx, cluster)
		}
		if err != nil {
			return doctor.Finding{State: doctor.Skip, Found: "the cluster is not reached"}
		}
		return run(ctx, cluster)
	}
}

// once is a value that several checks need and the first of them gets.
type once[T any] struct {
	mu    sync.Mutex
	known bool
	value T
	err   error
}

func (o *once[T]) get(get func() (T, error)) (T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.known {
		o.value, o.err = get()
		o.known = true
	}
	return o.value, o.err
}
