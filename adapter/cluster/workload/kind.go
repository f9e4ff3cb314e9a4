package workload

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"podstep.dev/internal/fault"
)

const podKind = "pod"

// kind is a kind of workload.
type kind struct {
	resource schema.GroupVersionResource
	// selection says which pods are looked at.
	selection func(*unstructured.Unstructured) (selection, error)
	// between is the kind of object that stands between the workload and its pods, if any.
	between schema.GroupVersionResource
	// adopts says that a pod is the workload's only if its controller is.
	adopts bool
}

// kinds are those that can be borrowed, by the word of config.Target.
func kinds() map[string]kind {
	apps := func(resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: resource}
	}
	batch := func(resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: resource}
	}
	return map[string]kind{
		podKind:       {resource: schema.GroupVersionResource{Version: "v1", Resource: "pods"}},
		"deployment":  {resource: apps("deployments"), selection: bySelector, between: apps("replicasets"), adopts: true},
		"statefulset": {resource: apps("statefulsets"), selection: bySelector, adopts: true},
		"daemonset":   {resource: apps("daemonsets"), selection: bySelector, adopts: true},
		"replicaset":  {resource: apps("replicasets"), selection: bySelector, adopts: true},
		"job":         {resource: batch("jobs"), selection: bySelector, adopts: true},
		"cronjob":     {resource: batch("cronjobs"), selection: byJob, between: batch("jobs"), adopts: true},
		"service":     {resource: schema.GroupVersionResource{Version: "v1", Resource: "services"}, selection: byService},
		"rollout": {resource: schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"},
			selection: bySelector, between: apps("replicasets"), adopts: true},
	}
}

// selection is what pods are listed and watched by.
type selection struct{ labels, fields string }

func (s selection) list() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: s.labels, FieldSelector: s.fields}
}

// byName selects one object.
func byName(name string) selection {
	return selection{fields: fields.OneTermEqualSelector("metadata.name", name).String()}
}

// bySelector takes the label selector that controllers have.
func bySelector(object *unstructured.Unstructured) (selection, error) {
	written, _, _ := unstructured.NestedMap(object.Object, "spec", "selector")
	var parsed metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(written, &parsed); err != nil {
		return selection{}, unreadable(object, err)
	}
	s, err := metav1.LabelSelectorAsSelector(&parsed)
	if err != nil {
		return selection{}, unreadable(object, err)
	}
	if s.Empty() {
		return selection{}, fault.New(fault.NoTarget, fmt.Sprintf("%s %q has no selector, so no pod is known to be its own", object.GetKind(), object.GetName()), nil)
	}
	return selection{labels: s.String()}, nil
}

// byJob selects the pods of all jobs: a cron job's own have no label in common.
func byJob(*unstructured.Unstructured) (selection, error) {
	return selection{labels: "batch.kubernetes.io/job-name", fields: "status.phase!=Succeeded,status.phase!=Failed"}, nil
}

// byService takes a service's selector.
func byService(object *unstructured.Unstructured) (selection, error) {
	if name, _, _ := unstructured.NestedString(object.Object, "spec", "externalName"); name != "" {
		return selection{}, &fault.Fault{ID: fault.NoTarget, What: fmt.Sprintf("service %q is an alias of %s, which is outside the cluster", object.GetName(), name),
			Hint: "Choose the workload that does the work. See: podstep targets"}
	}
	chosen, _, err := unstructured.NestedStringMap(object.Object, "spec", "selector")
	if err != nil {
		return selection{}, unreadable(object, err)
	}
	if len(chosen) == 0 {
		return selection{}, &fault.Fault{ID: fault.NoTarget, What: fmt.Sprintf("service %q has no selector: its endpoints are set by hand or by a controller", object.GetName()),
			Hint: "Choose a pod or the workload behind it. See: podstep targets"}
	}
	return selection{labels: labels.SelectorFromSet(chosen).String()}, nil
}

func unreadable(object *unstructured.Unstructured, err error) *fault.Fault {
	return fault.New(fault.NoTarget, fmt.Sprintf("the selector of %s %q cannot be read", object.GetKind(), object.GetName()), err)
}
