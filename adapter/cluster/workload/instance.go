package workload

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Instance is one start of the borrowed container in one pod.
type Instance struct {
	// Pod is the pod as it was when the instance was seen first. It is shared and not to be changed; it gets no newer.
	Pod *corev1.Pod
	// Container is the name of the borrowed container.
	Container string
	// ContainerID is the runtime's, without the runtime's name before it.
	ContainerID string
	// User is who the container's first process was started as. Nil if the kubelet or the runtime does not say.
	User *corev1.LinuxContainerUser
	// Probes are the paths of the kubelet's HTTP probes by port; see place.Incoming.
	Probes map[uint16][]string
	// Loopback says that a mesh's sidecar takes the pod's traffic and hands it on over the loopback interface.
	Loopback bool
	// Steal is the strictest of the annotations of the namespace, the workload and the pod.
	Steal Steal
}

// ID differs from that of any other start of any container.
func (i Instance) ID() string { return string(i.Pod.UID) + "/" + i.ContainerID }

// String names the pod: "pod/web-0".
func (i Instance) String() string { return "pod/" + i.Pod.Name }

// instanceOf returns the pod's running instance, and false when there is none: the pod is ending, waits, or has failed. It
// need not be ready.
func (w *Workload) instanceOf(pod *corev1.Pod) (Instance, bool) {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return Instance{}, false
	}
	container, err := chooseContainer(pod, w.target.Container)
	if err != nil {
		return Instance{}, false
	}
	n := slices.IndexFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == container.Name })
	if n < 0 || pod.Status.ContainerStatuses[n].State.Running == nil {
		return Instance{}, false
	}
	status := pod.Status.ContainerStatuses[n]
	_, id, found := strings.Cut(status.ContainerID, "://")
	if !found {
		return Instance{}, false
	}
	i := Instance{
		Pod:         pod,
		Container:   container.Name,
		ContainerID: id,
		Probes:      probes(pod),
		Loopback:    meshed(pod),
		Steal:       strictest(w.steal, w.podSteal(pod)),
	}
	if status.User != nil {
		i.User = status.User.Linux
	}
	return i, true
}

// isReady is the pod's own condition, with its readiness gates.
func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// keeper remembers which instances are borrowed: an instance is taken up when its pod is ready, and kept while its container
// runs. A debuggee that makes its pod unready must not lose it. A pod that was named is taken up without being ready.
type keeper struct {
	kept map[string]Instance
}

// choose returns the borrowed instances of the pods, by name.
func (k *keeper) choose(w *Workload, pods []*corev1.Pod) []Instance {
	kept := map[string]Instance{}
	var fresh []Instance
	for _, pod := range pods {
		i, running := w.instanceOf(pod)
		if !running || w.options.Incoming && pod.Spec.HostNetwork {
			continue
		}
		if old, known := k.kept[i.ID()]; known {
			kept[i.ID()] = old
		} else if isReady(pod) || w.target.Kind == podKind {
			fresh = append(fresh, i)
		}
	}
	slices.SortFunc(fresh, byPodName)
	for _, i := range fresh {
		if w.options.One && len(kept) > 0 {
			break
		}
		kept[i.ID()] = i
	}
	k.kept = kept
	all := make([]Instance, 0, len(kept))
	for _, i := range kept {
		all = append(all, i)
	}
	slices.SortFunc(all, byPodName)
	return all
}

func byPodName(a, b Instance) int { return strings.Compare(a.Pod.Name, b.Pod.Name) }

// sameInstances tells whether two sets, sorted by pod, are the same.
func sameInstances(a, b []Instance) bool {
	return slices.EqualFunc(a, b, func(a, b Instance) bool { return a.ID() == b.ID() })
}
