package workload

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// owners tells a workload's pods from those that only have the same labels, by their controllers. It remembers the replica
// sets and jobs in between, so that each is asked for once. It is used by one goroutine at a time.
type owners struct {
	workload *Workload
	parents  map[types.UID]parent
}

// parent is an object between a workload and its pods.
type parent struct {
	controller types.UID
	created    time.Time
}

// filter returns the pods that are the workload's, and whether that is sure: it is not when an object in between could not
// be read, whose pods are left out. Of a cron job it returns the pods of its newest job that still has some.
func (o *owners) filter(ctx context.Context, object *unstructured.Unstructured, pods []*corev1.Pod) (own []*corev1.Pod, sure bool) {
	if !o.workload.kind.adopts {
		return pods, true
	}
	sure = true
	var newest time.Time
	for _, pod := range pods {
		controller := metav1.GetControllerOf(pod)
		if controller == nil {
			continue
		}
		between := parent{controller: controller.UID}
		if o.workload.kind.between.Resource != "" {
			var ok bool
			if between, ok = o.parentOf(ctx, object, pod, controller); !ok {
				sure = false
				continue
			}
		}
		if between.controller != object.GetUID() {
			continue
		}
		if o.workload.target.Kind == "cronjob" {
			if between.created.Before(newest) {
				continue
			}
			if between.created.After(newest) {
				own, newest = nil, between.created
			}
		}
		own = append(own, pod)
	}
	return own, sure
}

// parentOf finds what controls the pod's controller. Replica sets need not be asked for when their name is the one that
// the workload's controller makes: "NAME-HASH", where HASH is a label of the pod, too.
func (o *owners) parentOf(ctx context.Context, object *unstructured.Unstructured, pod *corev1.Pod, controller *metav1.OwnerReference) (parent, bool) {
	if known, ok := o.parents[controller.UID]; ok {
		return known, true
	}
	found := parent{}
	hashes := []string{pod.Labels["pod-template-hash"], pod.Labels["rollouts-pod-template-hash"]}
	between := o.workload.kind.between
	switch {
	case between.Resource == "replicasets" && controller.Kind != "ReplicaSet", between.Resource == "jobs" && controller.Kind != "Job":
	case between.Resource == "replicasets" && slices.ContainsFunc(hashes, func(h string) bool { return h != "" && controller.Name == object.GetName()+"-"+h }):
		found.controller = object.GetUID()
	default:
		read, err := o.workload.cluster.Dynamic.Resource(between).Namespace(o.workload.Namespace()).Get(ctx, controller.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err): // it is gone, and so will be its pods
		case err != nil:
			o.workload.log.Warn("cannot read what owns a pod", zap.String("pod", pod.Name), zap.String("owner", controller.Name), zap.Error(err))
			return parent{}, false
		case read.GetUID() == controller.UID:
			if above := metav1.GetControllerOf(read); above != nil {
				found.controller = above.UID
			}
			found.created = read.GetCreationTimestamp().Time
		}
	}
	o.parents[controller.UID] = found
	return found, true
}
