package workload

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"podstep.dev/internal/fault"
)

// notReady says why no pod of the target can be borrowed at this moment.
func (w *Workload) notReady() *fault.Fault {
	f := fault.New(fault.NotReady, "", nil)
	if len(w.first.own) == 0 {
		f.What = fmt.Sprintf("%s has no pod: %s", w, w.whyNone())
		return f
	}
	count := map[string]int{}
	for _, pod := range w.first.own {
		count[WhyNotReady(pod)]++
	}
	reasons := slices.SortedFunc(maps.Keys(count), func(a, b string) int { return cmp.Or(count[b]-count[a], strings.Compare(a, b)) })
	if w.target.Kind == podKind {
		f.What = fmt.Sprintf("%s does not run: %s", w, reasons[0])
	} else {
		var words []string
		for _, reason := range reasons {
			words = append(words, fmt.Sprintf("%d: %s", count[reason], reason))
		}
		f.What = fmt.Sprintf("none of the %d pods of %s is ready (%s)", len(w.first.own), w, strings.Join(words, "; "))
	}
	f.Hint = fmt.Sprintf("See: kubectl describe pod -n %s %s", w.Namespace(), w.first.own[0].Name)
	for _, pod := range w.first.own {
		if i, running := w.instanceOf(pod); running {
			f.Hint += fmt.Sprintf(". A pod that runs without being ready can be borrowed by its name: %s", i)
			break
		}
	}
	return f
}

// whyNone says why a workload has no pods.
func (w *Workload) whyNone() string {
	number := func(fields ...string) int64 {
		n, _, _ := unstructured.NestedInt64(w.object.Object, fields...)
		return n
	}
	switch w.target.Kind {
	case "service":
		return "none has the labels that it selects: " + w.first.selection.labels
	case "cronjob":
		if suspended, _, _ := unstructured.NestedBool(w.object.Object, "spec", "suspend"); suspended {
			return "it is suspended"
		}
		schedule, _, _ := unstructured.NestedString(w.object.Object, "spec", "schedule")
		return fmt.Sprintf("none of its jobs is running (its schedule is %q)", schedule)
	case "job":
		if why := finished(w.object); why != "" {
			return why
		}
		if suspended, _, _ := unstructured.NestedBool(w.object.Object, "spec", "suspend"); suspended {
			return "it is suspended"
		}
	case "daemonset":
		if number("status", "desiredNumberScheduled") == 0 {
			return "no node is chosen by its node selector and tolerations"
		}
	default:
		if replicas, set, _ := unstructured.NestedInt64(w.object.Object, "spec", "replicas"); set && replicas == 0 {
			return "it is scaled to 0"
		}
		if message := condition(w.object, "ReplicaFailure"); message != "" {
			return message
		}
	}
	return "its controller has made none yet"
}

// finished says how a job ended, "" when it did not.
func finished(job *unstructured.Unstructured) string {
	if job.GetKind() != "Job" {
		return ""
	}
	if message, is := conditionOf(job, "Complete"); is {
		return cmp.Or(message, "it is complete")
	}
	if message, is := conditionOf(job, "Failed"); is {
		return "it failed: " + cmp.Or(message, "see its pods")
	}
	return ""
}

func condition(object *unstructured.Unstructured, kind string) string {
	message, _ := conditionOf(object, kind)
	return message
}

// conditionOf returns the message of a condition and whether the condition is true.
func conditionOf(object *unstructured.Unstructured, kind string) (string, bool) {
	all, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, c := range all {
		if c, ok := c.(map[string]any); ok && c["type"] == kind && c["status"] == "True" {
			message, _ := c["message"].(string)
			return message, true
		}
	}
	return "", false
}

// WhyNotReady says in a few words what keeps a pod from being ready, as kubectl's STATUS does, with the cause where it is
// known. A pod that is ready is "ready".
func WhyNotReady(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "Terminating"
	}
	if isReady(pod) {
		return "ready"
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		return "Completed"
	case corev1.PodFailed:
		return joined(cmp.Or(pod.Status.Reason, "Failed"), pod.Status.Message)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return joined(c.Reason, c.Message)
		}
	}
	for n, s := range pod.Status.InitContainerStatuses {
		if why := whyContainer(s, true); why != "" {
			return fmt.Sprintf("Init:%d/%d, %s", n, len(pod.Status.InitContainerStatuses), why)
		}
	}
	for _, s := range pod.Status.ContainerStatuses {
		if why := whyContainer(s, false); why != "" {
			return why
		}
	}
	for _, gate := range pod.Spec.ReadinessGates {
		if !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == gate.ConditionType && c.Status == corev1.ConditionTrue
		}) {
			return fmt.Sprintf("readiness gate %s is not passed", gate.ConditionType)
		}
	}
	return cmp.Or(string(pod.Status.Phase), "Pending")
}

// whyContainer says what keeps a container from being ready, or an init container from having ended, else "".
func whyContainer(s corev1.ContainerStatus, initial bool) string {
	switch {
	case s.State.Waiting != nil && s.State.Waiting.Reason == "PodInitializing":
		return ""
	case s.State.Waiting != nil:
		why := joined(s.State.Waiting.Reason, s.State.Waiting.Message)
		if last := s.LastTerminationState.Terminated; last != nil {
			why = fmt.Sprintf("%s, %s", s.State.Waiting.Reason, ended(last))
		}
		return fmt.Sprintf("%s (container %s)", why, s.Name)
	case s.State.Terminated != nil && (!initial || s.State.Terminated.ExitCode != 0):
		return fmt.Sprintf("%s (container %s)", ended(s.State.Terminated), s.Name)
	case s.State.Running != nil && initial && (s.Started == nil || !*s.Started):
		return fmt.Sprintf("init container %s is running", s.Name)
	case s.State.Running != nil && !initial && !s.Ready:
		return fmt.Sprintf("container %s is running but not ready", s.Name)
	}
	return ""
}

func ended(t *corev1.ContainerStateTerminated) string {
	return fmt.Sprintf("%s with exit code %d", cmp.Or(t.Reason, "ended"), t.ExitCode)
}

// joined adds a message to a reason, on one line of bounded length.
func joined(reason, message string) string {
	const longest = 160
	message = strings.Join(strings.Fields(message), " ")
	if message == "" {
		return reason
	}
	if len(message) > longest {
		message = strings.ToValidUTF8(message[:longest], "") + "…"
	}
	return reason + ": " + message
}
