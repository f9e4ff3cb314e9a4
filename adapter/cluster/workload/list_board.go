package workload

import (
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// What podstep's own objects are known by; adapter/cluster/attach makes them.
const (
	agentPrefix    = "podstep-"
	agentManaged   = "app.kubernetes.io/managed-by"
	agentManager   = "podstep"
	agentContainer = "podstep.dev/container"
)

// board is where a list is put together.
type board struct {
	*reader
	entries []*entry
	byUID   map[types.UID]*entry
	// parents are the controllers of replica sets and jobs.
	parents map[types.UID]types.UID
	steal   map[string]Steal // by namespace
	// of are the targets that a pod belongs to.
	of     map[*corev1.Pod][]*entry
	agents []seenAgent
}

// seenAgent is a running agent and the pod that it is for.
type seenAgent struct {
	Agent
	pod *corev1.Pod
}

func newBoard(r *reader) *board {
	b := &board{reader: r, byUID: map[types.UID]*entry{}, parents: map[types.UID]types.UID{}, steal: map[string]Steal{}, of: map[*corev1.Pod][]*entry{}}
	for _, n := range r.namespaces {
		b.steal[n.Name], _ = parseSteal(n.Annotations)
	}
	return b
}

func (b *board) addAll() {
	b.addControllers()
	b.addJobs()
	var jobAgents []*corev1.Pod
	inNamespace := map[string][]*corev1.Pod{}
	byContainer := map[string]*corev1.Pod{}
	for i := range b.pods {
		pod := &b.pods[i]
		switch {
		case pod.Labels[agentManaged] == agentManager && pod.Labels[agentContainer] != "":
			jobAgents = append(jobAgents, pod)
			continue
		case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
			continue
		}
		b.addPod(pod)
		inNamespace[pod.Namespace] = append(inNamespace[pod.Namespace], pod)
		for _, s := range pod.Status.ContainerStatuses {
			if _, id, found := strings.Cut(s.ContainerID, "://"); found {
				byContainer[id[:min(len(id), 32)]] = pod
			}
		}
	}
	for i := range b.agentPods {
		jobAgents = append(jobAgents, &b.agentPods[i])
	}
	for _, pod := range jobAgents {
		target, known := byContainer[pod.Labels[agentContainer]]
		if known && pod.Status.Phase == corev1.PodRunning {
			b.agents = append(b.agents, seenAgent{Agent{pod.Namespace, pod.Name, pod.Spec.Containers[0].Name}, target})
		}
	}
	b.addServices(inNamespace)
}

func (b *board) addControllers() {
	for _, d := range b.deployments {
		b.add("deployment", &d.ObjectMeta, &d.Spec.Template, ptr.Deref(d.Spec.Replicas, 1), d.Status.ReadyReplicas).quiet = "scaled to 0"
	}
	for _, s := range b.statefulSets {
		b.add("statefulset", &s.ObjectMeta, &s.Spec.Template, ptr.Deref(s.Spec.Replicas, 1), s.Status.ReadyReplicas).quiet = "scaled to 0"
	}
	for _, d := range b.daemonSets {
		b.add("daemonset", &d.ObjectMeta, &d.Spec.Template, d.Status.DesiredNumberScheduled, d.Status.NumberReady).quiet = "no node"
	}
	for _, r := range b.rollouts {
		written, _, _ := unstructured.NestedMap(r.Object, "spec", "template")
		var template corev1.PodTemplateSpec
		if runtime.DefaultUnstructuredConverter.FromUnstructured(written, &template) != nil {
			template = corev1.PodTemplateSpec{} // the pods will tell
		}
		replicas, set, _ := unstructured.NestedInt64(r.Object, "spec", "replicas")
		if !set {
			replicas = 1
		}
		ready, _, _ := unstructured.NestedInt64(r.Object, "status", "readyReplicas")
		meta := metav1.ObjectMeta{Namespace: r.GetNamespace(), Name: r.GetName(), UID: r.GetUID(), Annotations: r.GetAnnotations()}
		b.add("rollout", &meta, &template, int32(replicas), int32(ready)).quiet = "scaled to 0"
	}
	for _, r := range b.replicaSets {
		if above := metav1.GetControllerOf(&r); above != nil {
			b.parents[r.UID] = above.UID
			continue
		}
		b.add("replicaset", &r.ObjectMeta, nil, 0, 0)
	}
}

func (b *board) addJobs() {
	for _, c := range b.cronJobs {
		e := b.add("cronjob", &c.ObjectMeta, &c.Spec.JobTemplate.Spec.Template, 0, 0)
		if e.quiet = "between jobs"; ptr.Deref(c.Spec.Suspend, false) {
			e.quiet = "suspended"
		}
	}
	for _, j := range b.jobs {
		if above := metav1.GetControllerOf(&j); above != nil {
			b.parents[j.UID] = above.UID
		}
		over := slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
			return (c.Type == "Complete" || c.Type == "Failed") && c.Status == corev1.ConditionTrue
		})
		if over || j.Labels[agentManaged] == agentManager || b.byUID[b.parents[j.UID]] != nil {
			continue
		}
		b.add("job", &j.ObjectMeta, &j.Spec.Template, 0, 0).quiet = "suspended"
	}
}

// add makes an entry. template may be nil or empty.
func (b *board) add(kind string, meta *metav1.ObjectMeta, template *corev1.PodTemplateSpec, pods, ready int32) *entry {
	e := &entry{Listed: Listed{Namespace: meta.Namespace, Target: kind + "/" + meta.Name, Pods: int(pods), Ready: int(ready)}}
	e.limit(b.steal[meta.Namespace])
	e.annotated(meta.Annotations)
	if template != nil {
		e.describe(template.ObjectMeta, template.Spec)
	}
	b.entries = append(b.entries, e)
	b.byUID[meta.UID] = e
	return e
}

// addPod gives a pod to whatever it belongs to; one whose controller is not in the list is a target by itself.
func (b *board) addPod(pod *corev1.Pod) {
	var e *entry
	if controller := metav1.GetControllerOf(pod); controller != nil {
		if e = b.byUID[controller.UID]; e == nil {
			e = b.byUID[b.parents[controller.UID]]
		}
	}
	if e == nil {
		e = b.add(podKind, &pod.ObjectMeta, nil, 1, 0)
	}
	b.give(e, pod)
	for _, s := range pod.Status.EphemeralContainerStatuses {
		if strings.HasPrefix(s.Name, agentPrefix) && s.State.Running != nil {
			b.agents = append(b.agents, seenAgent{Agent{pod.Namespace, pod.Name, s.Name}, pod})
		}
	}
}

func (b *board) give(e *entry, pod *corev1.Pod) {
	e.own = append(e.own, pod)
	if e.Containers == nil {
		e.describe(pod.ObjectMeta, pod.Spec)
	}
	e.annotated(pod.Annotations)
	b.of[pod] = append(b.of[pod], e)
}

// addServices adds the services that select pods.
func (b *board) addServices(pods map[string][]*corev1.Pod) {
	for _, s := range b.services {
		if len(s.Spec.Selector) == 0 || s.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		e := b.add("service", &s.ObjectMeta, nil, 0, 0)
		selector := labels.SelectorFromSet(s.Spec.Selector)
		for _, pod := range pods[s.Namespace] {
			if selector.Matches(labels.Set(pod.Labels)) {
				b.give(e, pod)
			}
		}
		e.Ports = nil
		for _, port := range s.Spec.Ports {
			e.addPort(b.targetPort(port, e.own))
		}
	}
}

// targetPort is the pods' port behind a service's, 0 if no pod has a port of that name.
func (b *board) targetPort(port corev1.ServicePort, pods []*corev1.Pod) int32 {
	if port.TargetPort.StrVal == "" {
		if port.TargetPort.IntVal == 0 {
			return port.Port
		}
		return port.TargetPort.IntVal
	}
	for _, pod := range pods {
		for _, c := range pod.Spec.Containers {
			if n := portNumber(port.TargetPort, c.Ports); n != 0 {
				return int32(n)
			}
		}
	}
	return 0
}

// describe takes containers and ports from a pod or a template.
func (e *entry) describe(meta metav1.ObjectMeta, spec corev1.PodSpec) {
	chosen, err := chooseContainer(&corev1.Pod{ObjectMeta: meta, Spec: spec}, "")
	if err != nil {
		return
	}
	e.Containers = []string{chosen.Name}
	for _, c := range spec.Containers {
		if c.Name != chosen.Name {
			e.Containers = append(e.Containers, c.Name)
		}
		if isSidecar(c.Name) {
			continue
		}
		for _, p := range c.Ports {
			if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
				e.addPort(p.ContainerPort)
			}
		}
	}
	e.annotated(meta.Annotations)
}

func (e *entry) addPort(port int32) {
	if port != 0 && !slices.Contains(e.Ports, port) {
		e.Ports = append(e.Ports, port)
	}
}

// annotated and limit make the entry stricter.
func (e *entry) annotated(annotations map[string]string) {
	if _, there := annotations[StealAnnotation]; there {
		s, _ := parseSteal(annotations)
		e.limit(s)
	}
}

func (e *entry) limit(s Steal) {
	if s != "" && s != StealAllow {
		e.Steal = strictest(e.Steal, s)
	}
}
