package workload

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"podstep.dev/internal/fault"
)

// defaultContainer is the annotation by which kubectl chooses a container (k8s.io/kubectl/pkg/cmd/util/podcmd).
const defaultContainer = "kubectl.kubernetes.io/default-container"

// chooseContainer chooses as kubectl does: the one that is named, else the one that the pod's annotation names, else the
// first; but no mesh's sidecar. Its error is a *fault.Fault (NoTarget).
func chooseContainer(pod *corev1.Pod, named string) (*corev1.Container, error) {
	all := pod.Spec.Containers
	find := func(name string) *corev1.Container {
		if n := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == name }); n >= 0 {
			return &all[n]
		}
		return nil
	}
	if named != "" {
		if c := find(named); c != nil {
			return c, nil
		}
		return nil, noContainer(pod, named)
	}
	if c := find(pod.Annotations[defaultContainer]); c != nil {
		return c, nil
	}
	if n := slices.IndexFunc(all, func(c corev1.Container) bool { return !isSidecar(c.Name) }); n >= 0 {
		return &all[n], nil
	}
	if len(all) > 0 {
		return &all[0], nil
	}
	return nil, fault.New(fault.NoTarget, fmt.Sprintf("pod %q has no container", pod.Name), nil)
}

// isSidecar tells the proxies of service meshes by the names that their injectors give them: Istio, Linkerd, Consul, Kuma,
// AWS App Mesh, and Dapr's runtime.
func isSidecar(container string) bool {
	switch container {
	case "istio-proxy", "linkerd-proxy", "consul-dataplane", "envoy-sidecar", "consul-connect-envoy-sidecar", "kuma-sidecar", "envoy", "envoy-proxy", "daprd":
		return true
	}
	return strings.HasPrefix(container, "consul-connect-") || strings.HasPrefix(container, "consul-dataplane-")
}

// noContainer says why a container that was named cannot be borrowed.
func noContainer(pod *corev1.Pod, named string) *fault.Fault {
	var names []string
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	f := &fault.Fault{ID: fault.NoTarget, What: fmt.Sprintf("pod %q has no container %q", pod.Name, named), Hint: "It has: " + strings.Join(names, ", ") + "."}
	for _, c := range pod.Spec.InitContainers {
		if c.Name == named {
			f.What = fmt.Sprintf("container %q of pod %q is an init container, which cannot be borrowed", named, pod.Name)
			f.Hint = "These can be: " + strings.Join(names, ", ") + "."
			return f
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == named {
			f.What = fmt.Sprintf("container %q of pod %q is an ephemeral container, which cannot be borrowed", named, pod.Name)
			f.Hint = "These can be: " + strings.Join(names, ", ") + "."
			return f
		}
	}
	if near := nearest(named, names); near != "" {
		f.Hint = fmt.Sprintf("Did you mean %q? It has: %s.", near, strings.Join(names, ", "))
	}
	return f
}

// checkContainer refuses a container that no pod has.
func (w *Workload) checkContainer() error {
	var first error
	for _, pod := range w.first.own {
		_, err := chooseContainer(pod, w.target.Container)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}
