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
	"podstep.dev/adapter/place"
)

// Reasons of Events.
const (
	Borrowed = "PodstepBorrowed"
	Returned = "PodstepReturned"
	// Refused : a session did not get what it asked for.
	Refused = "PodstepRefused"
	// Yielded : a session gave ports back and goes on.
	Yielded = "PodstepYielded"
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
	// maxWhy is how much of a reason it has.
	maxWhy = 400
)

// Event is what is said of a session at the pod.
type Event struct {
	// Reason is Borrowed, Returned, Refused or Yielded.
	Reason string
	// Holder is for whom the session is.
	Holder string
	// Incoming is what the session does with the pod's incoming traffic.
	Incoming config.Incoming
	// Since is when the session began, Until when it ended: zero in a Borrowed.
	// In a Refused and a Yielded, Since is when it happened.
	Since, Until time.Time
	// Ports are those of a Yielded, Why the reason of it and of a Refused.
	Ports []uint16
	Why   string
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
	switch e.Reason {
	case Returned:
		last, action = e.Until, "Return"
	case Refused:
		action = "Refuse"
	case Yielded:
		action = "Yield"
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
	switch e.Reason {
	case Refused:
		return fmt.Sprintf("%s was refused container %s (%s): %s", e.Holder, in.Container, e.traffic(), shorten(e.Why, maxWhy))
	case Yielded:
		return fmt.Sprintf("%s released %s of container %s: %s", e.Holder, place.PortWords(e.Ports), in.Container, shorten(e.Why, maxWhy))
	case Returned:
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
	return e.Incoming.Mode + " of " + place.PortWords(slices.Sorted(maps.Keys(e.Incoming.Ports))) + ", " + e.filter()
}

func shorten(words string, limit int) string {
	if len(words) > limit {
		words = strings.ToValidUTF8(words[:limit], "") + "..."
	}
	return words
}

// filter says which requests, in a message of bounded length (core/v1, Event.message has at most 1024 bytes).
func (e Event) filter() string {
	if e.Incoming.Filter.IsZero() {
		return "unfiltered"
	}
	return "requests with " + shorten(e.Incoming.Filter.String(), maxFilter)
}
