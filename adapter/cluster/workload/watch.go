package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"podstep.dev/internal/fault"
)

const (
	// recreation is how long a named pod may be away before it is gone for good.
	recreation = time.Minute
	// askAgain is when an owner that could not be read is asked for again.
	askAgain = 2 * time.Second
)

// errReselect says that the workload selects other pods than before.
var errReselect = errors.New("the selector has changed")

// Watch sends the set of borrowed instances: the first one at once, then each that differs from the one before, sorted by pod.
// A set may be empty while pods are being replaced. The channel is closed when ctx ends or the target is gone for good; then
// Err says why. It may be called once.
//
// Goroutines: one that sends, which waits for one that follows the pods and one that follows the workload's object. All end
// with ctx, and have ended when the channel is closed.
func (w *Workload) Watch(ctx context.Context) <-chan []Instance {
	out := make(chan []Instance)
	go func() {
		defer close(out)
		f := &watching{Workload: w, out: out}
		f.set = f.keeper.choose(w, w.first.own)
		err := f.run(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		if ctx.Err() == nil {
			w.err = err
		}
	}()
	return out
}

// Err says why Watch's channel was closed before its context ended: a *fault.Fault (TargetGone, Forbidden).
func (w *Workload) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// watching is the state of one Watch, of its sending goroutine.
type watching struct {
	*Workload
	out    chan<- []Instance
	keeper keeper
	// set is the current one; sent is what the reader has, if it has one.
	set, sent []Instance
	begun     bool
	// away says that the named pod is not there; gone ends the patience with that.
	away bool
	gone <-chan time.Time
}

// run follows one selection after the other: only a service changes its own.
func (f *watching) run(ctx context.Context) error {
	for {
		err := f.follow(ctx)
		if !errors.Is(err, errReselect) {
			return err
		}
		f.log.Info("the target selects other pods", zap.String("selector", f.first.selection.labels))
	}
}

// follow follows the pods of the present selection.
func (f *watching) follow(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	pods, objects := f.podFollower(), f.objectFollower()
	g.Go(func() error { return f.cluster.Fault(pods.run(ctx), "follow the pods of "+f.String()) })
	if f.object != nil {
		g.Go(func() error { return f.cluster.Fault(objects.run(ctx), "follow "+f.String()) })
	}
	g.Go(func() error { return f.send(ctx, pods.latest, objects.latest) })
	return g.Wait()
}

// podFollower goes on from what Find saw.
func (f *watching) podFollower() *follower[*corev1.Pod] {
	client := f.cluster.Client.CoreV1().Pods(f.Namespace())
	pods := &follower[*corev1.Pod]{
		what:    "pods of " + f.String(),
		list:    func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		watch:   client.Watch,
		options: f.first.selection.list(),
		log:     f.log,
		latest:  make(chan []*corev1.Pod, 1),
		objects: map[string]*corev1.Pod{},
		version: f.first.version,
	}
	for _, pod := range f.first.all {
		pods.objects[pod.Name] = pod
	}
	return pods
}

func (f *watching) objectFollower() *follower[*unstructured.Unstructured] {
	client := f.cluster.Dynamic.Resource(f.kind.resource).Namespace(f.Namespace())
	return &follower[*unstructured.Unstructured]{
		what:    f.String(),
		list:    func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		watch:   func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return client.Watch(ctx, o) },
		options: byName(f.target.Name).list(),
		log:     f.log,
		latest:  make(chan []*unstructured.Unstructured, 1),
	}
}

// send makes sets of what the followers see until the target is gone.
func (f *watching) send(ctx context.Context, podsSeen <-chan []*corev1.Pod, objectSeen <-chan []*unstructured.Unstructured) error {
	pods := f.first.all
	var again <-chan time.Time
	for {
		var out chan<- []Instance
		if !f.begun || !sameInstances(f.set, f.sent) {
			out = f.out
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case out <- f.set:
			f.sent, f.begun = f.set, true
			continue
		case <-f.gone:
			return f.goneFault("was deleted and has not come back")
		case pods = <-podsSeen:
		case objects := <-objectSeen:
			if err := f.takeObject(objects); err != nil {
				return err
			}
		case <-again:
		}
		own, sure := f.owners.filter(ctx, f.object, pods)
		if f.options.Pods != nil {
			f.options.Pods(own)
		}
		again = nil
		if !sure {
			again = time.After(askAgain)
		}
		f.set = f.keeper.choose(f.Workload, own)
		if err := f.checkGone(own); err != nil {
			return err
		}
	}
}

// takeObject keeps the workload's newest object, or says that it is gone.
func (f *watching) takeObject(objects []*unstructured.Unstructured) error {
	if len(objects) == 0 {
		return f.goneFault("was deleted")
	}
	f.object = objects[0]
	f.steal = strictest(f.namespaced, f.objectSteal(f.object))
	selected, err := f.kind.selection(f.object)
	if err != nil {
		return err
	}
	if selected == f.first.selection {
		return nil
	}
	f.first = podList{selection: selected}
	return errReselect
}

// checkGone says when there is nothing to wait for.
func (f *watching) checkGone(own []*corev1.Pod) error {
	if f.target.Kind != podKind {
		if why := finished(f.object); why != "" && len(f.set) == 0 {
			return f.goneFault("has ended: " + why)
		}
		return nil
	}
	if len(own) > 0 {
		f.away, f.gone = false, nil
		if phase := own[0].Status.Phase; (phase == corev1.PodSucceeded || phase == corev1.PodFailed) && metav1.GetControllerOf(own[0]) == nil {
			return f.goneFault("has ended: " + WhyNotReady(own[0]))
		}
		return nil
	}
	if !f.away {
		f.away, f.gone = true, time.After(recreation)
	}
	return nil
}

func (f *watching) goneFault(how string) *fault.Fault {
	return fault.New(fault.TargetGone, fmt.Sprintf("%s %s", f.Workload, how), nil)
}
