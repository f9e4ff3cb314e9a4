package attach

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"podstep.dev/adapter/config"
)

// Policy is what the annotations allow of stealing, as the agent's argument --steal has it.
type Policy string

// The policies.
const (
	Allow        Policy = "allow"
	FilteredOnly Policy = "filtered-only"
	Deny         Policy = "deny"
)

// Needs are what a session wants of an agent.
type Needs struct {
	// Steal and Mirror are the modes of incoming traffic.
	Steal, Mirror bool
	// Process says that the target's process is looked into: its environment, or its files with certificates.
	Process bool
	// Policy is enforced by the agent. If empty, Allow.
	Policy Policy
}

// NeedsOf says what m needs.
func NeedsOf(m config.Mirror, policy Policy) Needs {
	return Needs{
		Steal:   m.Incoming.Mode == config.ModeSteal,
		Mirror:  m.Incoming.Mode == config.ModeMirror,
		Process: len(m.Env.Include) > 0 || m.Incoming.TLSInTarget(),
		Policy:  policy,
	}
}

func (n Needs) policy() Policy {
	if n.Policy == "" {
		return Allow
	}
	return n.Policy
}

// network are the capabilities that incoming traffic needs: NET_ADMIN for the kernel's rules and for sockets at foreign
// addresses, NET_RAW for packet sockets.
func (n Needs) network() []corev1.Capability {
	switch {
	case n.Steal && n.policy() != Deny:
		return []corev1.Capability{"NET_ADMIN"}
	case n.Mirror:
		return []corev1.Capability{"NET_RAW"}
	}
	return nil
}

// has tells whether all of want are among what a container's security context adds. A context that drops nothing and adds
// nothing is not one of ours.
func has(sc *corev1.SecurityContext, want []corev1.Capability) bool {
	if sc == nil || sc.Capabilities == nil {
		return len(want) == 0
	}
	for _, c := range want {
		if !slices.Contains(sc.Capabilities.Add, c) {
			return false
		}
	}
	return true
}
