package checkup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/rbac"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/doctor"
)

// lacks asks for everything in one go and returns what is missing for a feature.
func (c *Checkup) lacks(ctx context.Context, cluster *api.Cluster, features ...rbac.Feature) ([]rbac.Missing, error) {
	all, err := c.missing.get(func() ([]rbac.Missing, error) {
		grants := rbac.Grants(rbac.Options{Namespace: cluster.Namespace, Agent: config.AgentAuto, AgentNamespace: c.opts.Agent.Namespace})
		return rbac.Check(ctx, cluster.Client.AuthorizationV1(), grants)
	})
	if err != nil {
		return nil, cluster.Fault(err, "ask for permissions")
	}
	var some []rbac.Missing
	for _, m := range all {
		if slices.Contains(features, m.Grant.Feature) {
			some = append(some, m)
		}
	}
	return some, nil
}

// may checks what reading a target needs. Only pods are needed by every session.
func (c *Checkup) may(features ...rbac.Feature) func(context.Context, *api.Cluster) doctor.Finding {
	return func(ctx context.Context, cluster *api.Cluster) doctor.Finding {
		missing, err := c.lacks(ctx, cluster, features...)
		if err != nil {
			return doctor.Of(doctor.Fail, err)
		}
		if len(missing) == 0 {
			return doctor.Finding{State: doctor.OK, Found: "pods, workloads and services can be read, and Events be left"}
		}
		f := notAllowed(missing)
		f.Ask = c.permissions(ctx, cluster, c.preferred())
		if !slices.ContainsFunc(missing, func(m rbac.Missing) bool { return m.Grant.Resource == "pods" }) {
			f.State = doctor.Warn
			if slices.ContainsFunc(missing, func(m rbac.Missing) bool { return m.Grant.Feature == rbac.Workloads }) {
				f.Do = "Name pods instead of such workloads, or ask for the Role below."
			}
		}
		return f
	}
}

func (c *Checkup) mayEphemeral(ctx context.Context, cluster *api.Cluster) doctor.Finding {
	return c.mayStart(ctx, cluster, config.AgentEphemeral, rbac.Ephemeral, rbac.Job)
}

func (c *Checkup) mayJob(ctx context.Context, cluster *api.Cluster) doctor.Finding {
	return c.mayStart(ctx, cluster, config.AgentJob, rbac.Job, rbac.Ephemeral)
}

// mayStart checks what a kind of agent needs. One kind is enough, unless the other is asked for.
func (c *Checkup) mayStart(ctx context.Context, cluster *api.Cluster, kind string, feature, other rbac.Feature) doctor.Finding {
	missing, err := c.lacks(ctx, cluster, feature)
	if err != nil {
		return doctor.Of(doctor.Fail, err)
	}
	if len(missing) == 0 {
		return doctor.Finding{State: doctor.OK, Found: "allowed"}
	}
	instead, err := c.lacks(ctx, cluster, other)
	if err != nil {
		return doctor.Of(doctor.Fail, err)
	}
	if len(instead) == 0 && c.opts.Agent.Kind != kind {
		return doctor.Finding{State: doctor.OK, Found: fmt.Sprintf("not allowed, and not needed while the other kind is (%s)", list(missing))}
	}
	f := notAllowed(missing)
	if kind == c.preferred() {
		f.Ask = c.permissions(ctx, cluster, kind)
	}
	return f
}

func notAllowed(missing []rbac.Missing) doctor.Finding {
	return doctor.Finding{State: doctor.Fail, Found: "may not " + list(missing), Do: "Ask for the Role below."}
}

// preferred is the kind to ask for: the one that needs less, unless the other one is wanted.
func (c *Checkup) preferred() string {
	if c.opts.Agent.Kind == config.AgentJob {
		return config.AgentJob
	}
	return config.AgentEphemeral
}

// permissions asks for the Role of a kind.
func (c *Checkup) permissions(ctx context.Context, cluster *api.Cluster, kind string) string {
	return "permissions: " + c.role(ctx, cluster, kind, c.opts.Agent.Namespace) + " | kubectl apply -f -"
}

// role is the command that prints the Role for this user.
func (c *Checkup) role(ctx context.Context, cluster *api.Cluster, kind, agentNamespace string) string {
	command := "podstep rbac -n " + cluster.Namespace
	if kind == config.AgentJob {
		command += " --agent job"
		if agentNamespace != "" {
			command += " --agent-namespace " + agentNamespace
		}
	}
	user, err := c.who(ctx, cluster)
	if account, is := strings.CutPrefix(user, "system:serviceaccount:"); is {
		return command + " --serviceaccount " + account
	}
	if err != nil || user == "" {
		return command
	}
	return command + " --user " + shell(user)
}

// shell quotes a word where a shell would take it apart.
func shell(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@.:_-/", r)
	}
	if !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// list names what is missing, one resource once: get, list pods in "shop"; create pods/exec in "shop".
func list(missing []rbac.Missing) string {
	var parts []string
	for i := 0; i < len(missing); {
		verbs := []string{}
		m := missing[i]
		for ; i < len(missing) && missing[i].Grant.Resource == m.Grant.Resource && missing[i].Grant.Namespace == m.Grant.Namespace; i++ {
			verbs = append(verbs, missing[i].Verb)
		}
		m.Verb = strings.Join(verbs, ", ")
		parts = append(parts, m.String())
	}
	return strings.Join(parts, "; ")
}
