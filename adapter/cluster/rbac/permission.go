// Package rbac is the table of every permission that podstep needs in a cluster, each with its reason, and what is made of it: the
// Role that an administrator applies, the table of docs/security.md, and the check of what a user may do. It asks for nothing that
// the code does not use.
package rbac

import "podstep.dev/adapter/config"

// Feature is what a permission is for.
type Feature string

// The features.
const (
	// EverySession is what no session in a cluster can do without.
	EverySession Feature = "every session"
	// Workloads is to name a target that is no pod, and to list targets.
	Workloads Feature = "targets that are no pod"
	// Ephemeral is an agent in an ephemeral container.
	Ephemeral Feature = "ephemeral agent"
	// Job is an agent in a pod of its own.
	Job Feature = "job agent"
	// Revoke is for administrators alone: to take the right to steal away from others.
	Revoke Feature = "revoking (administrators)"
)

// Permission is one rule of a Role.
type Permission struct {
	// Group is the API group, empty for the core group.
	Group string
	// Resource is the resource, with its subresource: "pods/exec".
	Resource string
	Verbs    []string
	Feature  Feature
	// OwnNamespace restricts it to the one object that is called like the Role's namespace: the namespace itself.
	OwnNamespace bool
	// InAgentNamespace says that it is needed where the agent's own pod runs, else where the target does.
	InAgentNamespace bool
	// Why is one sentence for whoever grants it.
	Why string
}

// Table lists everything that podstep ever asks of an API server, besides what every authenticated user may do (API discovery,
// SelfSubjectAccessReview).
func Table() []Permission {
	read := []string{"get", "list", "watch"}
	return []Permission{
		{
			Resource: "pods", Verbs: read, Feature: EverySession,
			Why: "Find the target's pods, follow them as they come and go, and see when the agent runs.",
		}, {
			Resource: "namespaces", Verbs: []string{"get"}, Feature: EverySession, OwnNamespace: true,
			Why: "Read the namespace's annotation podstep.dev/steal and its Pod Security level; no other namespace.",
		}, {
			Resource: "events", Verbs: []string{"create"}, Feature: EverySession,
			Why: "Leave Events on the target's pod that say who borrowed it, how, and from when until when.",
		},
		{Group: "apps", Resource: "deployments", Verbs: read, Feature: Workloads, Why: "Find the pods of deployment/NAME and its annotation podstep.dev/steal, notice its end, and list what can be borrowed."},
		{Group: "apps", Resource: "statefulsets", Verbs: read, Feature: Workloads, Why: "The same for statefulset/NAME."},
		{Group: "apps", Resource: "daemonsets", Verbs: read, Feature: Workloads, Why: "The same for daemonset/NAME."},
		{Group: "apps", Resource: "replicasets", Verbs: read, Feature: Workloads, Why: "The same for replicaset/NAME, which also stands between a pod and its deployment."},
		{Group: "batch", Resource: "jobs", Verbs: read, Feature: Workloads, Why: "The same for job/NAME."},
		{Group: "batch", Resource: "cronjobs", Verbs: read, Feature: Workloads, Why: "The same for cronjob/NAME."},
		{Resource: "services", Verbs: read, Feature: Workloads, Why: "The same for service/NAME, whose pods change with its selector."},
		{Group: "argoproj.io", Resource: "rollouts", Verbs: read, Feature: Workloads, Why: "The same for rollout/NAME, where Argo Rollouts is installed."},
		{
			Resource: "pods/ephemeralcontainers", Verbs: []string{"patch"}, Feature: Ephemeral,
			Why: "Add the agent to the target's pod.",
		}, {
			Resource: "pods/exec", Verbs: []string{"get", "create"}, Feature: Ephemeral,
			Why: "Speak with the agent, and ask it for its sessions. WebSocket asks for get, and since Kubernetes 1.35 for create too, as SPDY does.",
		}, {
			Group: "batch", Resource: "jobs", Verbs: []string{"create", "delete"}, Feature: Job, InAgentNamespace: true,
			Why: "Start the agent's pod on the target's node, and remove it. Who may create Jobs may run any pod that the namespace admits.",
		}, {
			Resource: "pods", Verbs: []string{"list", "watch"}, Feature: Job, InAgentNamespace: true,
			Why: "Find the agent's pod, and see when it runs.",
		}, {
			Resource: "events", Verbs: []string{"watch"}, Feature: Job, InAgentNamespace: true,
			Why: "Learn why the cluster does not admit the agent's pod: only an Event of its Job tells.",
		}, {
			Resource: "namespaces", Verbs: []string{"get"}, Feature: Job, InAgentNamespace: true, OwnNamespace: true,
			Why: "Read the Pod Security level of the agent's namespace before anything is created there.",
		}, {
			Resource: "pods/exec", Verbs: []string{"get", "create"}, Feature: Job, InAgentNamespace: true,
			Why: "Speak with the agent, and ask it for its sessions. WebSocket asks for get, and since Kubernetes 1.35 for create too, as SPDY does.",
		}, {
			Resource: "pods", Verbs: []string{"patch"}, Feature: Revoke,
			Why: "Write the annotation podstep.dev/revoked, which ends other people's steals. Developers do not have it.",
		},
	}
}

// Options of Grants.
type Options struct {
	// Namespace is the target's. It must not be empty.
	Namespace string
	// Agent is the kind of agent that is wanted: config.AgentEphemeral, config.AgentJob, or config.AgentAuto for both. Empty means
	// config.AgentEphemeral, which needs less.
	Agent string
	// AgentNamespace is where the agent's own pod runs. Empty means Namespace.
	AgentNamespace string
	// Admin adds what an administrator needs to end other people's steals. If false, it is left out.
	Admin bool
	// Only restricts the grants to these features. Empty means all.
	Only []Feature
}

// Grant is a permission in a namespace.
type Grant struct {
	Namespace string
	Permission
}

// Grants lists what a session with these options needs, in the table's order.
func Grants(o Options) []Grant {
	if o.AgentNamespace == "" {
		o.AgentNamespace = o.Namespace
	}
	var grants []Grant
	for _, p := range Table() {
		if !o.wants(p.Feature) {
			continue
		}
		namespace := o.Namespace
		if p.InAgentNamespace {
			namespace = o.AgentNamespace
		}
		grants = append(grants, Grant{Namespace: namespace, Permission: p})
	}
	return grants
}

func (o Options) wants(f Feature) bool {
	switch {
	case f == Revoke && !o.Admin:
		return false
	case f == Ephemeral && o.Agent == config.AgentJob, f == Job && (o.Agent == config.AgentEphemeral || o.Agent == ""):
		return false
	case len(o.Only) == 0:
		return true
	}
	for _, only := range o.Only {
		if only == f {
			return true
		}
	}
	return false
}
