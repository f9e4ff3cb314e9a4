package attach

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/adapter/config"
)

// Reasons of Events.
const (
	Borrowed = "PodstepBorrowed"
	Returned = "PodstepReturned"
)

const (
	// recording bounds one Event.
	recording = 2 * time.Second
	// reporter is the component of the Events.
	reporter = "podstep.dev/podstep"
	// maxReporter is the longest reporting instance (k8s.io/kubernetes/pkg/apis/core/validation/events.go).
	maxReporter = 128
	// maxFilter is how much of a filter's words a message has, in bytes; a message has at most 1024.
	maxFilter = 300
)

// Event is what is said of a session at the pod.
type Event struct {
	// Reason is Borrowed or Returned.
	Reason string
	// Holder is for whom the session is.
	Holder string
	// Incoming is what the session does with the pod's incoming traffic.
	Incoming config.Incoming
	// Since is when the session began, Until when it ended: zero in a Borrowed.
	Since, Until time.Time
}

// Record leaves an Event on in's pod. Whoever may not is warned in the log; the session goes on.
func (a *Attacher) Record(ctx context.Context, in Instance, e Event) {
	ctx, cancel := context.WithTimeout(ctx, recording)
	defer cancel()
	if _, err := a.Cluster.Client.CoreV1().Events(in.Pod.Namespace).Create(ctx, e.object(in), metav1.CreateOptions{}); err != nil {
		a.unrecorded.Do(func() {
			a.log().Warn("no Event could be left on the pod", zap.String("pod", in.Pod.Name), zap.Error(err))
		})
	}
}

func (e Event) object(in Instance) *corev1.Event {
	last, action := e.Since, "Borrow"
	if e.Reason == Returned {
		last, action = e.Until, "Return"
	}
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: in.Pod.Name + "." + newName(), Namespace: in.Pod.Namespace},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: in.Pod.Namespace, Name: in.Pod.Name, UID: in.Pod.UID,
			FieldPath: fmt.Sprintf("spec.containers{%s}", in.Container),
		},
		Reason: e.Reason, Message: e.message(in), Type: corev1.EventTypeNormal, Action: action,
		Source:         corev1.EventSource{Component: "podstep"},
		FirstTimestamp: metav1.NewTime(e.Since), LastTimestamp: metav1.NewTime(last), Count: 1,
		ReportingController: reporter, ReportingInstance: e.Holder[:min(len(e.Holder), maxReporter)],
	}
}

// message is who, what and when, for whoever reads `kubectl describe pod`.
func (e Event) message(in Instance) string {
	if e.Reason == Returned {
		return fmt.Sprintf("%s returned container %s, borrowed from %s to %s: %s",
			e.Holder, in.Container, e.Since.UTC().Format(time.RFC3339), e.Until.UTC().Format(time.RFC3339), e.traffic())
	}
	return fmt.Sprintf("%s borrowed container %s: %s", e.Holder, in.Container, e.traffic())
}

func (e Event) traffic() string {
	if e.Incoming.Mode == config.ModeOff {
		return "no incoming traffic"
	}
	if len(e.Incoming.Ports) == 0 {
		return e.Incoming.Mode + " of the ports that the debuggee serves, " + e.filter()
	}
	var ports []string
	for _, port := range slices.Sorted(maps.Keys(e.Incoming.Ports)) {
		ports = append(ports, fmt.Sprint(port))
	}
	word := "port "
	if len(ports) > 1 {
		word = "ports "
	}
	return e.Incoming.Mode + " of " + word + strings.Join(ports, ", ") + ", " + e.filter()
}

// filter says which requests, in a message of bounded length (core/v1, Event.message has at most 1024 bytes).
func (e Event) filter() string {
	if e.Incoming.Filter.IsZero() {
		return "unfiltered"
	}
	words := e.Incoming.Filter.String()
	if len(words) > maxFilter {
		words = strings.ToValidUTF8(words[:maxFilter], "") + "..."
	}
	return "requests with " + words
}
