package cluster

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
)

var _ place.Revocable = (*target)(nil)

// Revoked sends when the annotation of a pod takes the right to steal away from this session.
func (t *target) Revoked() <-chan place.Revocation { return t.revoked }

// lookForRevocations looks at the pods as they are. The reader of Revoked misses none: what it has not taken is replaced by what is newer.
func (t *target) lookForRevocations(pods []*corev1.Pod) {
	if t.mirror.Incoming.Mode != config.ModeSteal {
		return
	}
	for _, p := range pods {
		r, is := workload.Revoked(p, t.session, t.holder, time.Now())
		t.mu.Lock()
		is = is && !t.heard[r.String()]
		t.heard[r.String()] = t.heard[r.String()] || is
		t.mu.Unlock()
		if !is {
			continue
		}
		select {
		case <-t.revoked:
		default:
		}
		t.revoked <- r
		return
	}
}
