package config

import (
	"fmt"
	"slices"
	"strings"
)

// clusterKeys are the block's keys that only a target in a cluster has a use for.
func clusterKeys() []string { return []string{"kubeconfig", "context", "namespace", "pods", "agent"} }

// Fits says why a key of the block ("namespace", "incoming.ports") cannot be given for this target, or nil.
func (t Target) Fits(key string) error {
	first, _, _ := strings.Cut(key, ".")
	switch {
	case !t.InCluster() && slices.Contains(clusterKeys(), first):
		return fmt.Errorf("%s is on this machine; %q is for a target in a cluster", t, first)
	case t.Kind == KindTargetless && key == "pods":
		return fmt.Errorf("a session without a target has no pods to choose from")
	case t.Kind == KindTargetless && (key == "incoming.ports" || key == "incoming.filter" || key == "incoming.tls"):
		return fmt.Errorf("a session without a target receives no requests")
	}
	return nil
}

// fitFilter checks a filter that was given against the mode.
func (r *reader) fitFilter(m Mirror, path string) {
	at := join(path, "incoming.filter")
	if offset, given := r.seen[at]; given && m.Incoming.Mode == ModeOff {
		r.add(offset, at, `incoming traffic is left alone; a filter is for "mode" steal or mirror`)
	}
}

// fit checks the keys that were given against the target, as far as that can be read, and sets what follows from it.
func (r *reader) fit(m *Mirror, path string) {
	t, err := ParseTarget(m.Target)
	if err != nil {
		return
	}
	for _, key := range append(clusterKeys(), "incoming.ports", "incoming.filter", "incoming.tls") {
		at := join(path, key)
		if offset, given := r.seen[at]; given {
			if err := t.Fits(key); err != nil {
				r.add(offset, at, err.Error())
			}
		}
	}
	if t.Kind != KindTargetless {
		return
	}
	at := join(path, "incoming.mode")
	if offset, given := r.seen[at]; given && m.Incoming.Mode != ModeOff {
		r.add(offset, at, fmt.Sprintf("a session without a target receives no requests; leave it out, or use %q", ModeOff))
	}
	m.Incoming.Mode = ModeOff
}
