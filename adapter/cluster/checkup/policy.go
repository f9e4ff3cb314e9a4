package checkup

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/doctor"
)

// enforce is the label of the level that Pod Security Admission enforces.
const enforce = "pod-security.kubernetes.io/enforce"

// agentNamespace is what a namespace for agents is called where there is none.
const agentNamespace = "podstep"

// namespace is what a namespace says of itself.
type namespace struct {
	hidden              bool
	labels, annotations map[string]string
}

func (c *Checkup) namespace(ctx context.Context, cluster *api.Cluster) (namespace, error) {
	return c.level.get(func() (namespace, error) {
		ns, err := cluster.Client.CoreV1().Namespaces().Get(ctx, cluster.Namespace, metav1.GetOptions{})
		switch {
		case apierrors.IsForbidden(err):
			return namespace{hidden: true}, nil
		case err != nil:
			return namespace{}, cluster.Fault(err, fmt.Sprintf("read namespace %q", cluster.Namespace))
		}
		return namespace{labels: ns.Labels, annotations: ns.Annotations}, nil
	})
}

// podSecurity says what the namespace's level means for a session.
func (c *Checkup) podSecurity(ctx context.Context, cluster *api.Cluster) doctor.Finding {
	ns, err := c.namespace(ctx, cluster)
	switch {
	case err != nil:
		return doctor.Of(doctor.Fail, err)
	case ns.hidden:
		return doctor.Finding{State: doctor.Warn, Found: "the namespace may not be read; the dry runs below tell"}
	}
	elsewhere := fmt.Sprintf("stealing and mirroring: a namespace for the agent's own pod, and the permissions there: kubectl create namespace %[1]s && kubectl label namespace %[1]s %[2]s=privileged && %[3]s | kubectl apply -f -. "+
		`Sessions then say "agent": {"kind": "job", "namespace": %[1]q}`, agentNamespace, enforce, c.role(ctx, cluster, config.AgentJob, agentNamespace))
	switch level := ns.labels[enforce]; {
	case level == "" || level == "privileged":
		return doctor.Finding{State: doctor.OK, Found: "not enforced: every kind of session"}
	case c.opts.Agent.Kind == config.AgentJob && c.opts.Agent.Namespace != "":
		return doctor.Finding{State: doctor.OK, Found: level + ", which does not matter to an agent in namespace " + c.opts.Agent.Namespace}
	case level == "baseline":
		return doctor.Finding{
			State: doctor.Warn, Found: `baseline: no capabilities, so an ephemeral agent can neither steal nor mirror`,
			Do: `Use "incoming": {"mode": "off"}, which needs none, or let the agent run elsewhere.`, Ask: elsewhere,
		}
	default:
		return doctor.Finding{
			State: doctor.Warn, Found: level + ": no capabilities and no root, so an ephemeral agent can neither steal nor mirror, and reads the environment only of targets that are not root",
			Do: `Use "incoming": {"mode": "off"}, or let the agent run elsewhere.`, Ask: elsewhere,
		}
	}
}

// steal says what the annotations allow: those of the namespace, and with a target its own, too.
func (c *Checkup) steal(ctx context.Context, cluster *api.Cluster) doctor.Finding {
	ns, err := c.namespace(ctx, cluster)
	if err != nil {
		return doctor.Of(doctor.Fail, err)
	}
	where, value := "in namespace "+cluster.Namespace, workload.Steal(ns.annotations[workload.StealAnnotation])
	if c.opts.Target != "" {
		if in, err := c.pod(ctx, cluster); err == nil {
			where, value = "for "+c.opts.Target, in.Steal
		}
	}
	const mirror = `Use "incoming": {"mode": "mirror"}.`
	switch {
	case value == workload.StealFilteredOnly:
		return doctor.Finding{State: doctor.Warn, Found: "only filtered stealing is allowed " + where, Do: `Give "incoming" a "filter", or use "incoming": {"mode": "mirror"}.`}
	case value != "" && value != workload.StealAllow:
		return doctor.Finding{State: doctor.Warn, Found: "stealing is denied " + where, Do: mirror}
	case ns.hidden:
		return doctor.Finding{State: doctor.Warn, Found: "the namespace may not be read, so its annotation is not known"}
	}
	return doctor.Finding{State: doctor.OK, Found: "stealing is allowed " + where}
}
