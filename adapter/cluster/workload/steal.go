package workload

import (
	"context"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// StealAnnotation says how far a target's incoming traffic may be stolen. It may stand at the namespace, the workload, and
// the pod or its template; the strictest counts.
const StealAnnotation = "podstep.dev/steal"

// Steal is the annotation's value.
type Steal string

// The values, from the most lenient one on. Without annotation everything is allowed.
const (
	StealAllow        Steal = "allow"
	StealFilteredOnly Steal = "filtered-only"
	StealDeny         Steal = "deny"
)

// strictest returns the stricter one.
func strictest(a, b Steal) Steal {
	order := []Steal{StealAllow, StealFilteredOnly, StealDeny}
	return order[max(0, slices.Index(order, a), slices.Index(order, b))]
}

// parseSteal reads an object's annotations, and says whether the word is known. One that is none of the three denies:
// whoever wrote it wanted a limit.
func parseSteal(annotations map[string]string) (Steal, bool) {
	written, there := annotations[StealAnnotation]
	switch s := Steal(written); {
	case !there:
		return StealAllow, true
	case s == StealAllow, s == StealFilteredOnly, s == StealDeny:
		return s, true
	}
	return StealDeny, false
}

// stealOf is parseSteal, and says in the log what is not understood.
func (w *Workload) stealOf(where string, annotations map[string]string) Steal {
	s, known := parseSteal(annotations)
	if !known {
		w.log.Warn("unknown value of the annotation "+StealAnnotation+" is taken for deny", zap.String("at", where), zap.String("value", annotations[StealAnnotation]))
	}
	return s
}

func (w *Workload) podSteal(pod *corev1.Pod) Steal {
	return w.stealOf("pod/"+pod.Name, pod.Annotations)
}

// objectSteal is the stricter one of the workload's own annotation and its template's. A pod may lack the latter while a
// change is being rolled out.
func (w *Workload) objectSteal(object *unstructured.Unstructured) Steal {
	s := w.stealOf(w.String(), object.GetAnnotations())
	for _, template := range [][]string{{"spec", "template", "metadata", "annotations"}, {"spec", "jobTemplate", "spec", "template", "metadata", "annotations"}} {
		annotations, _, _ := unstructured.NestedStringMap(object.Object, template...)
		s = strictest(s, w.stealOf(w.String(), annotations))
	}
	return s
}

// namespaceSteal reads the namespace's annotation. Who may not read the namespace is not held up: its annotation is then
// not known here, and binds only where the cluster's admission policy enforces it, which sees it in any case.
func (w *Workload) namespaceSteal(ctx context.Context) (Steal, error) {
	namespace, err := w.cluster.Client.CoreV1().Namespaces().Get(ctx, w.Namespace(), metav1.GetOptions{})
	switch {
	case err == nil:
		return w.stealOf("namespace/"+w.Namespace(), namespace.Annotations), nil
	case apierrors.IsForbidden(err):
		w.log.Info("the namespace may not be read, nor its annotation "+StealAnnotation, zap.String("namespace", w.Namespace()))
		return StealAllow, nil
	case apierrors.IsNotFound(err):
		return StealAllow, noNamespace(w.cluster, w.Namespace())
	}
	return StealAllow, w.cluster.Fault(err, "read the namespace "+w.Namespace())
}
