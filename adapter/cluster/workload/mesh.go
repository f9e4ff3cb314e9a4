package workload

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// meshed tells a pod whose incoming traffic a service mesh takes before its containers do, and hands on inside the pod. A
// proxy that only stands beside the container, for example as an ingress, takes nothing.
func meshed(pod *corev1.Pod) bool {
	has := func(names ...string) bool { return hasContainer(pod, names...) }
	annotated := func(name, value string) bool {
		v, there := pod.Annotations[name]
		return there && (value == "" || v == value)
	}
	switch {
	// Istio: by an init container or, where the CNI plugin sets the rules, by what the injector wrote.
	case has("istio-proxy") && (has("istio-init", "istio-validation") || annotated("sidecar.istio.io/status", "")):
		return true
	// Istio's ambient mode: the node's proxy speaks from inside the pod's network namespace.
	case annotated("ambient.istio.io/redirection", "enabled"):
		return true
	case has("linkerd-proxy"), has("kuma-sidecar"):
		return true
	case annotated("consul.hashicorp.com/transparent-proxy-status", "enabled"):
		return true
	}
	return false
}

// hasContainer looks among the containers and the init containers, where native sidecars are.
func hasContainer(pod *corev1.Pod, names ...string) bool {
	named := func(c corev1.Container) bool { return slices.Contains(names, c.Name) }
	return slices.ContainsFunc(pod.Spec.Containers, named) || slices.ContainsFunc(pod.Spec.InitContainers, named)
}

// probes collects the paths of the pod's HTTP probes by port. Those that Istio makes in the kubelet's place are found in the
// environment of its sidecar. Probes over HTTPS are told from other traffic only where TLS is taken off. Those to other hosts are
// left out.
func probes(pod *corev1.Pod) map[uint16][]string {
	found := map[uint16][]string{}
	add := func(get *corev1.HTTPGetAction, ports []corev1.ContainerPort) {
		if get == nil || get.Host != "" {
			return
		}
		path := get.Path
		if path == "" {
			path = "/"
		}
		if port := portNumber(get.Port, ports); port != 0 && !slices.Contains(found[port], path) {
			found[port] = append(found[port], path)
		}
	}
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
			if probe != nil {
				add(probe.HTTPGet, c.Ports)
			}
		}
		for _, rewritten := range istioProbes(c) {
			add(rewritten, nil)
		}
	}
	return found
}

// istioProbes are the probes whose place a sidecar's own have taken: pilot-agent gets them as JSON by name and makes them
// for the kubelet, with its headers (istio.io/istio/pkg/kube/inject/app_probe.go).
func istioProbes(sidecar corev1.Container) []*corev1.HTTPGetAction {
	n := slices.IndexFunc(sidecar.Env, func(e corev1.EnvVar) bool { return e.Name == "ISTIO_KUBE_APP_PROBERS" })
	if n < 0 {
		return nil
	}
	var byName map[string]struct {
		HTTPGet *corev1.HTTPGetAction `json:"httpGet"`
	}
	if json.Unmarshal([]byte(sidecar.Env[n].Value), &byName) != nil {
		return nil // another release's form: such probes are taken for requests
	}
	var all []*corev1.HTTPGetAction
	for _, p := range byName {
		all = append(all, p.HTTPGet)
	}
	return all
}

// portNumber resolves a probe's port, which may be the name of a port of the same container. It is 0 if there is none.
func portNumber(port intstr.IntOrString, ports []corev1.ContainerPort) uint16 {
	number := port.IntVal
	if port.Type == intstr.String {
		n := slices.IndexFunc(ports, func(p corev1.ContainerPort) bool { return p.Name == port.StrVal })
		if n < 0 {
			return 0
		}
		number = ports[n].ContainerPort
	}
	if number < 1 || number > 65535 {
		return 0
	}
	return uint16(number)
}
