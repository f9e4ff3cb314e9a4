// Package workload finds what a target in a cluster is: its pods, the container in each that is borrowed, and what is special
// about them; and it follows them as they come and go. It only reads: nothing in the cluster is changed.
package workload

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

// Options say what of the target is wanted. The zero value is: all its pods, without their incoming traffic.
type Options struct {
	// Log receives the target's lines. If nil, nothing is logged.
	Log *zap.Logger
	// One keeps to a single pod until it goes. If false, all ready pods are borrowed.
	One bool
	// Incoming says that the pods' incoming traffic is wanted, which pods in the node's network namespace cannot give.
	Incoming bool
	// Pods is told of the target's pods as they are, each time that one changed, by Watch. It must not block. If nil, nobody is told.
	Pods func([]*corev1.Pod)
}

// Workload is a target that was found.
type Workload struct {
	cluster *api.Cluster
	target  config.Target
	kind    kind
	options Options
	log     *zap.Logger
	// namespaced is what the namespace's annotation says, steal the strictest of that and the workload's.
	namespaced, steal Steal
	// owners is used by Find, then by the goroutine of Watch.
	owners owners

	object *unstructured.Unstructured // nil for a pod
	first  podList

	mu  sync.Mutex
	err error
}

// podList is the pods that a selection had, at a version that they can be watched from.
type podList struct {
	selection selection
	version   string
	// all are those that were selected, own those of them that are the workload's.
	all, own []*corev1.Pod
}

// String is the target as the person writes it: "deployment/shop".
func (w *Workload) String() string { return w.target.Kind + "/" + w.target.Name }

// Namespace is the target's.
func (w *Workload) Namespace() string { return w.cluster.Namespace }

// Instances are those that Find saw, at least one.
func (w *Workload) Instances() []Instance {
	var keeper keeper
	return keeper.choose(w, w.first.own)
}

// Find looks the target up in the cluster's namespace and checks that it can be borrowed at this moment. Errors are
// *fault.Fault: NoTarget, NotReady, TargetShared, Forbidden, NoCluster.
func Find(ctx context.Context, c *api.Cluster, target config.Target, o Options) (*Workload, error) {
	kind, known := kinds()[target.Kind]
	if !known {
		return nil, fault.New(fault.BadConfig, fmt.Sprintf("target %q is nothing in a cluster", target), nil)
	}
	log := o.Log
	if log == nil {
		log = zap.NewNop()
	}
	w := &Workload{cluster: c, target: target, kind: kind, options: o, log: log.Named("workload"), namespaced: StealAllow, steal: StealAllow}
	w.owners = owners{workload: w, parents: map[types.UID]parent{}}

	// A namespace that does not exist explains all the rest, so its error comes first.
	var found error
	var g errgroup.Group
	g.Go(func() error { found = w.find(ctx); return nil })
	g.Go(func() (err error) { w.namespaced, err = w.namespaceSteal(ctx); return err })
	if err := cmp.Or(g.Wait(), found); err != nil {
		return nil, err
	}
	w.steal = strictest(w.steal, w.namespaced)
	if err := w.check(); err != nil {
		return nil, err
	}
	return w, nil
}

// find reads the workload and its pods.
func (w *Workload) find(ctx context.Context) error {
	selected := byName(w.target.Name)
	if w.target.Kind != podKind {
		object, err := w.read(ctx)
		if err != nil {
			return err
		}
		if selected, err = w.kind.selection(object); err != nil {
			return err
		}
		w.object = object
		w.steal = w.objectSteal(object)
	}
	list, err := w.cluster.Client.CoreV1().Pods(w.Namespace()).List(ctx, selected.list())
	if err != nil {
		return w.cluster.Fault(err, "list the pods of "+w.String())
	}
	w.first = podList{selection: selected, version: list.ResourceVersion}
	for i := range list.Items {
		w.first.all = append(w.first.all, &list.Items[i])
	}
	if w.target.Kind == podKind && len(list.Items) == 0 {
		return w.missing(ctx, nil)
	}
	w.first.own, _ = w.owners.filter(ctx, w.object, w.first.all)
	return nil
}

// check says why none of the pods can be borrowed, if so.
func (w *Workload) check() error {
	if err := w.checkContainer(); err != nil {
		return err
	}
	if len(w.Instances()) > 0 {
		return nil
	}
	for _, pod := range w.first.own {
		if w.options.Incoming && pod.Spec.HostNetwork {
			return &fault.Fault{ID: fault.TargetShared, What: fmt.Sprintf("pod %q is in its node's network, so its traffic cannot be told from the node's", pod.Name),
				Hint: `Set "incoming": {"mode": "off"}: outgoing connections, names and environment work.`}
		}
	}
	return w.notReady()
}
