package workload

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/wire"
)

// asking bounds how long agents may take to say whom they serve: the list is worth more than a complete one later.
const asking = 2 * time.Second

// ListOptions say what is listed. The zero value is the targets of the cluster's namespace, without who borrows them.
type ListOptions struct {
	// All lists the targets of all namespaces.
	All bool
	// AgentNamespace is where agents have pods of their own, if that is another namespace than the targets'.
	AgentNamespace string
	// Sessions asks an agent for its sessions. If nil, agents are seen but not asked.
	Sessions func(context.Context, Agent) ([]wire.Session, error)
}

// Agent is where a running agent is.
type Agent struct{ Namespace, Pod, Container string }

// List is what can be borrowed.
type List struct {
	Targets []Listed `json:"targets"`
	// Missing says what could not be listed, and why.
	Missing []string `json:"missing,omitempty"`
}

// Listed is a target in a list.
type Listed struct {
	Namespace string `json:"namespace"`
	// Target is what the "mirror" block names it by: "deployment/shop".
	Target string `json:"target"`
	// Ready of Pods pods are ready; Pods is how many there should be.
	Ready int `json:"ready"`
	Pods  int `json:"pods"`
	// Status is "ready", or in a few words why not.
	Status string `json:"status"`
	// Containers are those that can be borrowed, the one that is borrowed unless another is named first.
	Containers []string `json:"containers,omitempty"`
	// Ports are the pods' ports that their containers, or the service, declare.
	Ports []int32 `json:"ports,omitempty"`
	// Steal is the strictest annotation, empty if there is none.
	Steal Steal `json:"steal,omitempty"`
	// Borrowed are the sessions that borrow pods of the target at this moment.
	Borrowed []Borrower `json:"borrowed,omitempty"`
	// Running are the target's pods.
	Running []*corev1.Pod `json:"-"`
}

// Borrower is a session at one of a target's pods.
type Borrower struct {
	Pod string `json:"pod"`
	// Unknown says why the pod's agent did not tell its sessions; then Session is empty.
	Unknown string `json:"unknown,omitempty"`
	wire.Session
	// Agent is the pod's agent.
	Agent Agent `json:"-"`
}

// Targets lists what can be borrowed: everything that is running or should be, except what belongs to another target of the
// list. Kinds that may not be listed are missing; an error, a *fault.Fault, means that nothing may be.
func Targets(ctx context.Context, c *api.Cluster, o ListOptions) (*List, error) {
	r := &reader{cluster: c, namespace: c.Namespace, agents: o.AgentNamespace}
	if o.All {
		r.namespace = ""
	}
	if err := r.read(ctx); err != nil {
		return nil, err
	}
	b := newBoard(r)
	b.addAll()
	b.ask(ctx, o.Sessions)
	l := &List{Targets: []Listed{}, Missing: r.missing}
	for _, e := range b.entries {
		e.finish()
		l.Targets = append(l.Targets, e.Listed)
	}
	slices.SortFunc(l.Targets, func(a, b Listed) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), rank(a.Target)-rank(b.Target), strings.Compare(a.Target, b.Target))
	})
	return l, nil
}

// rank is the place of a target's kind in a list: what people look for comes first.
func rank(target string) int {
	kind, _, _ := strings.Cut(target, "/")
	return slices.Index([]string{"deployment", "statefulset", "daemonset", "rollout", "cronjob", "job", "replicaset", podKind, "service"}, kind)
}

// ask asks the agents for their sessions, all at once.
func (b *board) ask(ctx context.Context, sessions func(context.Context, Agent) ([]wire.Session, error)) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(32)
	found := make([][]Borrower, len(b.agents))
	for n, a := range b.agents {
		if sessions == nil {
			found[n] = []Borrower{{Pod: a.pod.Name, Unknown: "its agent was not asked"}}
			continue
		}
		g.Go(func() error {
			all, err := sessions(ctx, a.Agent)
			if err != nil {
				found[n] = []Borrower{{Pod: a.pod.Name, Unknown: reason(err), Agent: a.Agent}}
			}
			for _, s := range all {
				found[n] = append(found[n], Borrower{Pod: a.pod.Name, Session: s, Agent: a.Agent})
			}
			return nil
		})
	}
	_ = g.Wait() // none fails
	for n, a := range b.agents {
		for _, e := range b.of[a.pod] {
			e.Borrowed = append(e.Borrowed, found[n]...)
		}
	}
}

// reason is an error in a few words, for a line of the list.
func reason(err error) string {
	if f := fault.As(err); f.ID != fault.Internal {
		return f.What
	}
	return err.Error()
}

// entry is a target being put together.
type entry struct {
	Listed
	// own are its pods.
	own []*corev1.Pod
	// quiet is the status of a target that has no pods and needs none.
	quiet string
}

// finish says how the target does, from its pods.
func (e *entry) finish() {
	e.Running = e.own
	if len(e.own) > 0 && e.Pods == 0 {
		e.Pods = len(e.own)
	}
	count := map[string]int{}
	ready := 0
	for _, pod := range e.own {
		if isReady(pod) && pod.DeletionTimestamp == nil {
			ready++
			continue
		}
		why, _, _ := strings.Cut(WhyNotReady(pod), ": ")
		count[why]++
	}
	e.Ready = max(e.Ready, ready)
	switch {
	case e.Pods > 0 && e.Ready >= e.Pods:
		e.Status = "ready"
	case len(count) > 0:
		e.Status = mostOf(count)
	case e.quiet != "":
		e.Status = e.quiet
	case e.Pods == 0:
		e.Status = "no pods"
	default:
		e.Status = fmt.Sprintf("%d of %d ready", e.Ready, e.Pods)
	}
}

// mostOf is the most frequent word, the first of the alphabet if there are several.
func mostOf(count map[string]int) string {
	best := ""
	for word, n := range count {
		if best == "" || n > count[best] || n == count[best] && word < best {
			best = word
		}
	}
	return best
}
