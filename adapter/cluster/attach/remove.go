package attach

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"podstep.dev/adapter/cluster/api"
)

const (
	// removal bounds one removal: whoever ends a session waits for it.
	removal = 3 * time.Second
	// departure is how long an agent that was told to go is waited for, until its job is removed: the kubelet reports an end
	// within about a second. A job that is not removed so goes by itself a little later.
	departure = time.Second
)

// Leave removes the jobs of agents that ended with this session. Only an agent that has ended is removed: others may be
// using one that goes on. What is left goes by itself. The links are closed before.
func (a *Attacher) Leave(ctx context.Context) error {
	if a.Agent.Linger > 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var group sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for ag := range a.jobs {
		group.Go(func() {
			if !a.departed(ctx, ag) {
				a.log().Debug("the agent goes on", zap.Stringer("agent", ag))
				return
			}
			if err := a.remove(ctx, ag.Namespace, ag.Job); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// departed waits for the end of an agent of a job, and tells whether it came.
func (a *Attacher) departed(ctx context.Context, ag agent) bool {
	ctx, cancel := context.WithTimeout(ctx, departure)
	defer cancel()
	w, err := a.Cluster.Client.CoreV1().Pods(ag.Namespace).Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", ag.Pod).String()})
	if err != nil {
		return false
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			return false
		}
		if event.Type == watch.Deleted || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || hasEnded(pod) {
			return true
		}
	}
	return false
}

func hasEnded(pod *corev1.Pod) bool {
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == container {
			return s.State.Terminated != nil
		}
	}
	return false
}

// remove deletes a job and, in the background, its pod. That it is gone already is no error.
func (a *Attacher) remove(ctx context.Context, namespace, job string) error {
	ctx, cancel := context.WithTimeout(ctx, removal)
	defer cancel()
	err := a.Cluster.Client.BatchV1().Jobs(namespace).Delete(ctx, job, metav1.DeleteOptions{
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return api.Fault(err, "remove the agent's job "+job)
}
