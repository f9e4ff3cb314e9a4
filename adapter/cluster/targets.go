package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/attach/exec"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/internal/wire"
)

// maxSessions bounds what an agent may print of its sessions, in bytes.
const maxSessions = 1 << 20

// Targets lists what can be borrowed in the cluster's namespace, or in all, and who borrows it. Errors are *fault.Fault.
// agents is the namespace of agents that have pods of their own, if that is another one.
func Targets(ctx context.Context, o api.Options, all bool, agents string) (*workload.List, error) {
	c, err := api.Connect(o)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	dialer := &exec.Dialer{Config: c.Config, Client: c.Client.CoreV1().RESTClient(), Log: o.Log}
	return workload.Targets(ctx, c, workload.ListOptions{All: all, AgentNamespace: agents, Sessions: func(ctx context.Context, a workload.Agent) ([]wire.Session, error) {
		return sessions(ctx, dialer, a)
	}})
}

// sessions asks an agent whom it serves.
func sessions(ctx context.Context, d *exec.Dialer, a workload.Agent) ([]wire.Session, error) {
	conn, err := d.Dial(ctx, exec.Call{Namespace: a.Namespace, Pod: a.Pod, Container: a.Container, Command: []string{"/podstep-agent", "sessions"}})
	if err != nil {
		return nil, api.Fault(err, "ask the agent of pod/"+a.Pod)
	}
	hangUp := sync.OnceFunc(func() { _ = conn.Close() })
	defer hangUp()
	defer context.AfterFunc(ctx, hangUp)()
	text, err := io.ReadAll(io.LimitReader(conn, maxSessions))
	if ctx.Err() != nil {
		return nil, fmt.Errorf("the agent of pod/%s does not answer", a.Pod)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the agent of pod/%s: %w: %s", a.Pod, err, conn.Words())
	}
	var list []wire.Session
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("ask the agent of pod/%s: %w", a.Pod, err)
	}
	return list, nil
}
