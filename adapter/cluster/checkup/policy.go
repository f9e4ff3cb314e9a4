package checkup

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/doctor"
)

// enforce is the label of the level that Pod Security Admission enforces.
const enforce = "pod-security.kubernetes.io/enforce"

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
	elsewhere := fmt.Sprintf("stealing and mirroring: a namespace for the agent's own pod that Pod Security lets through: kubectl create namespace podstep && kubectl label namespace podstep %s=privileged, "+
		"and there the Role that this prints: podstep rbac -n %s --agent job --agent-namespace podstep. Sessions then say \"agent\": {\"kind\": \"job\", \"namespace\": \"podstep\"}", enforce, cluster.Namespace)
	switch level := ns.labels[enforce]; level {
	case "", "privileged":
		return doctor.Finding{State: doctor.OK, Found: "not enforced: every kind of session"}
	case "baseline":
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

// steal says what the namespace's annotation allows. The workload's may be stricter.
func (c *Checkup) steal(ctx context.Context, cluster *api.Cluster) doctor.Finding {
	ns, err := c.namespace(ctx, cluster)
	switch {
	case err != nil:
		return doctor.Of(doctor.Fail, err)
	case ns.hidden:
		return doctor.Finding{State: doctor.Warn, Found: "the namespace may not be read, so its annotation is not known"}
	}
	switch value := ns.annotations[workload.StealAnnotation]; workload.Steal(value) {
	case "", workload.StealAllow:
		return doctor.Finding{State: doctor.OK, Found: "stealing is allowed in the namespace; a workload may forbid it"}
	case workload.StealFilteredOnly:
		return doctor.Finding{State: doctor.Warn, Found: "only filtered stealing is allowed in the namespace", Do: `Use "incoming": {"mode": "mirror"}.`}
	default:
		return doctor.Finding{State: doctor.Warn, Found: fmt.Sprintf("stealing is denied in the namespace (%s: %s)", workload.StealAnnotation, value), Do: `Use "incoming": {"mode": "mirror"}.`}
	}
}
