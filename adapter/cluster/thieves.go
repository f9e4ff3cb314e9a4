package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/attach/exec"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/wire"
)

// Which says which of a target's thieves are meant. The zero value is all.
type Which struct {
	// Session is the session's id, or for whom it is: "alice@laptop", or "alice".
	Session string
	// Port is one that it steals; 0: any.
	Port uint16
	// AgentNamespace is where agents have pods of their own, if that is another namespace than the target's.
	AgentNamespace string
}

// Thief is a session that steals from a target, at however many of its pods.
type Thief struct {
	wire.Session
	// Ports are those that it steals.
	Ports []uint16

	agents []workload.Agent
	pods   []string
}

// owned is a target as its owners see it, by the list of targets.
type owned struct {
	cluster *api.Cluster
	dialer  *exec.Dialer
	target  config.Target
	// agents is the namespace of agents that have pods of their own.
	agents string

	pods    []*corev1.Pod
	thieves []*Thief
	// unknown says of which pods' agents it is not known whom they serve.
	unknown []string
}

// own finds a target and who steals from it. The caller closes it. Errors are *fault.Fault.
func own(ctx context.Context, o api.Options, target config.Target, agents string) (*owned, error) {
	c, err := api.Connect(o)
	if err != nil {
		return nil, err
	}
	w := &owned{cluster: c, target: target, agents: agents, dialer: &exec.Dialer{Config: c.Config, Client: c.Client.CoreV1().RESTClient(), Log: o.Log}}
	if err := w.look(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *owned) close() { _ = w.cluster.Close() }

// look sees who steals now.
func (w *owned) look(ctx context.Context) error {
	list, err := workload.Targets(ctx, w.cluster, workload.ListOptions{AgentNamespace: w.agents, Sessions: func(ctx context.Context, a workload.Agent) ([]wire.Session, error) {
		return sessions(ctx, w.dialer, a)
	}})
	if err != nil {
		return err
	}
	w.thieves, w.unknown, w.pods = nil, nil, nil
	known := false
	for _, t := range list.Targets {
		isPod := func(p *corev1.Pod) bool { return w.target.Kind == "pod" && p.Name == w.target.Name }
		whole := t.Target == w.target.Kind+"/"+w.target.Name
		if !whole && !slices.ContainsFunc(t.Running, isPod) {
			continue
		}
		known = true
		for _, p := range t.Running {
			if whole || isPod(p) {
				w.pods = append(w.pods, p)
			}
		}
		for _, b := range t.Borrowed {
			if whole || b.Pod == w.target.Name {
				w.add(b)
			}
		}
		break
	}
	if !known {
		return fault.New(fault.NoTarget, fmt.Sprintf("there is no %s/%s in namespace %s", w.target.Kind, w.target.Name, w.cluster.Namespace), nil)
	}
	return nil
}

func (w *owned) add(b workload.Borrower) {
	if b.Unknown != "" {
		w.unknown = append(w.unknown, fmt.Sprintf("pod/%s: %s", b.Pod, b.Unknown))
		return
	}
	var ports []uint16
	for _, s := range b.Subscriptions {
		if s.Mode == wire.ModeSteal {
			ports = append(ports, s.Port)
		}
	}
	if len(ports) == 0 {
		return
	}
	i := slices.IndexFunc(w.thieves, func(t *Thief) bool { return t.Session.Session == b.Session.Session })
	if i < 0 {
		i, w.thieves = len(w.thieves), append(w.thieves, &Thief{Session: b.Session})
	}
	t := w.thieves[i]
	t.Ports = append(t.Ports, ports...)
	slices.Sort(t.Ports)
	t.Ports = slices.Compact(t.Ports)
	t.agents, t.pods = append(t.agents, b.Agent), append(t.pods, b.Pod)
}

// choose returns the thieves that are meant; it is a fault if there is none.
func (w *owned) choose(which Which) ([]*Thief, error) {
	var chosen []*Thief
	for _, t := range w.thieves {
		if which.matches(t) {
			chosen = append(chosen, t)
		}
	}
	if len(chosen) > 0 {
		return chosen, nil
	}
	f := fault.New(fault.NobodySteals, "nobody steals "+which.of(w.target), nil)
	if len(w.unknown) > 0 {
		f.What += ", as far as the agents say"
		f.Err = fmt.Errorf("%s", strings.Join(w.unknown, ", "))
	}
	if len(w.thieves) > 0 {
		f.Hint = "These do: " + list(w.thieves) + "."
	}
	return nil, f
}

func (w Which) matches(t *Thief) bool {
	named := w.Session == "" || w.Session == t.Session.Session || w.Session == t.Name || strings.HasPrefix(t.Name, w.Session+"@")
	return named && (w.Port == 0 || slices.Contains(t.Ports, w.Port))
}

func (w Which) of(t config.Target) string {
	what := "from " + t.String()
	if w.Port != 0 {
		what = fmt.Sprintf("port %d of %s", w.Port, t)
	}
	if w.Session != "" {
		what += " in a session of " + w.Session
	}
	return what
}

func list(thieves []*Thief) string {
	who := make([]string, 0, len(thieves))
	for _, t := range thieves {
		who = append(who, t.String())
	}
	return strings.Join(who, "; ")
}

// String is "alice@laptop (port 80 for 12m, its debugger stopped for 40s; session k3)".
func (t *Thief) String() string {
	words := fmt.Sprintf("%s (%s for %s", t.Name, place.PortWords(t.Ports), time.Since(t.Since).Round(time.Second))
	if t.Paused {
		words += fmt.Sprintf(", its debugger stopped for %s", time.Since(t.PausedSince).Round(time.Second))
	}
	return words + "; session " + t.Session.Session + ")"
}
