package workload

import (
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"podstep.dev/adapter/place"
)

// RevokedAnnotation takes the right to steal away from sessions. It stands at a pod: to write it takes the permission to patch pods, which a
// developer's Role does not have.
const RevokedAnnotation = "podstep.dev/revoked"

// maxRevocations bounds how many a pod has; the oldest are forgotten.
const maxRevocations = 32

// Revocation is one of a pod's.
type Revocation struct {
	// Sessions are the ids of those that it is for.
	Sessions []string `json:"sessions,omitempty"`
	// Until is how long nobody may steal, or those alone whom Holders names, also in sessions that begin later. Zero: Sessions alone.
	Until time.Time `json:"until,omitzero"`
	// Holders are for whom sessions are, by their own word: "alice@laptop". Empty: everybody.
	Holders []string `json:"holders,omitempty"`
	// By is who revoked, by their own word.
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Time   time.Time `json:"time,omitzero"`
}

// Revocations reads a pod's. What is there and cannot be read revokes everything, as long as it stands: whoever wrote it wanted an end.
func Revocations(pod *corev1.Pod) []Revocation {
	written, there := pod.Annotations[RevokedAnnotation]
	if !there {
		return nil
	}
	var all []Revocation
	if err := json.Unmarshal([]byte(written), &all); err != nil {
		return []Revocation{{Until: endless, Reason: "annotation " + RevokedAnnotation}}
	}
	return all
}

// endless is the time until which what has no end lasts.
var endless = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Binds says whether the revocation is for a session.
func (r Revocation) Binds(session, holder string, now time.Time) bool {
	if slices.Contains(r.Sessions, session) {
		return true
	}
	return now.Before(r.Until) && (len(r.Holders) == 0 || slices.Contains(r.Holders, holder))
}

// Revoked says whether a pod's annotation takes the right to steal away from a session, and by whom.
func Revoked(pod *corev1.Pod, session, holder string, now time.Time) (place.Revocation, bool) {
	for _, r := range slices.Backward(Revocations(pod)) {
		if !r.Binds(session, holder, now) {
			continue
		}
		found := place.Revocation{By: r.By, Reason: r.Reason, Where: "pod/" + pod.Name}
		if now.Before(r.Until) && r.Until.Before(endless) {
			found.Until = r.Until
		}
		return found, true
	}
	return place.Revocation{}, false
}

// WithRevocation is the annotation with one more, without those that bind nobody any more.
func WithRevocation(pod *corev1.Pod, r Revocation, now time.Time) string {
	all := slices.DeleteFunc(Revocations(pod), func(old Revocation) bool {
		return len(old.Sessions) == 0 && !now.Before(old.Until)
	})
	all = append(all, r)
	text, _ := json.Marshal(all[max(0, len(all)-maxRevocations):]) // such a list always can be
	return string(text)
}
