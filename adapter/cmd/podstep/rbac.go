package main

import (
	"regexp"

	"github.com/spf13/cobra"

	"podstep.dev/adapter/cluster/rbac"
	"podstep.dev/adapter/config"
)

// rbacFlags are the flags of rbac.
type rbacFlags struct {
	namespace, agent, agentNamespace string
	subject                          rbac.Subject
	admin                            bool
	output                           string
}

func (p *podstep) rbacCommand() *cobra.Command {
	f := &rbacFlags{}
	cmd := &cobra.Command{
		Use:   "rbac -n NAMESPACE [flags]",
		Short: "Print the Role that podstep needs, with the reason of each rule",
		Long: `rbac prints the Role that a person needs to borrow targets of a namespace, ready for kubectl apply, with the reason of each rule.
It is namespaced; nothing cluster-wide is needed. With --user, --group or --serviceaccount it prints the binding, too.
It needs no cluster.`,
		Example: `  podstep rbac -n shop
  podstep rbac -n shop --user anna@example.org | kubectl apply -f -
  podstep rbac -n shop --agent job --agent-namespace podstep --group developers`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.NoArgs,
		RunE:                  func(*cobra.Command, []string) error { return p.rbac(f) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.namespace, "namespace", "n", "", "the targets' `namespace`")
	flags.StringVar(&f.agent, "agent", config.AgentEphemeral, "the `kind` of agent that is allowed: ephemeral, job, or auto for both")
	flags.StringVar(&f.agentNamespace, "agent-namespace", "", "the `namespace` of the job agent's pod (default the targets')")
	flags.BoolVar(&f.admin, "admin", false, "add what an administrator needs to end other people's steals (podstep revoke)")
	flags.StringVar(&f.subject.User, "user", "", "bind the Role to this `user`")
	flags.StringVar(&f.subject.Group, "group", "", "bind the Role to this `group`")
	flags.StringVar(&f.subject.ServiceAccount, "serviceaccount", "", "bind the Role to this service account: `[namespace:]name`")
	flags.StringVarP(&f.output, "output", "o", "yaml", "form of the Role: yaml or json")
	cmd.MarkFlagsMutuallyExclusive("user", "group", "serviceaccount")
	return cmd
}

func (p *podstep) rbac(f *rbacFlags) error {
	if f.output == "json" {
		p.output = f.output // faults, too
	}
	if err := f.check(); err != nil {
		return err
	}
	roles := rbac.Roles(rbac.Options{Namespace: f.namespace, Agent: f.agent, AgentNamespace: f.agentNamespace, Admin: f.admin}, f.subject)
	text := rbac.YAML(roles)
	if f.output == "json" {
		var err error
		if text, err = rbac.JSON(roles); err != nil {
			return err
		}
	}
	_, err := p.out.Write(text)
	return err
}

func (f *rbacFlags) check() error {
	if f.namespace == "" {
		return usage("no namespace is given: -n NAMESPACE")
	}
	for flag, name := range map[string]string{"--namespace": f.namespace, "--agent-namespace": f.agentNamespace} {
		if name != "" && !isNamespace(name) {
			return usage("%s %s: this is no name of a namespace", flag, name)
		}
	}
	switch f.agent {
	case config.AgentEphemeral, config.AgentJob, config.AgentAuto:
	default:
		return usage("--agent %s is none of ephemeral, job, auto", f.agent)
	}
	if f.agentNamespace != "" && f.agent == config.AgentEphemeral {
		return usage("--agent-namespace is for --agent job: an ephemeral container is in the target's pod")
	}
	if f.output != "yaml" && f.output != "json" {
		return usage("--output %s is neither yaml nor json", f.output)
	}
	return nil
}

// isNamespace tells the names that a namespace may have (RFC 1123 label).
func isNamespace(name string) bool {
	return len(name) <= 63 && regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`).MatchString(name)
}
