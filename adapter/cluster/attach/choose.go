package attach

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/attach/exec"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

// enforceLabel is the namespace's Pod Security level (Pod Security Admission).
const enforceLabel = "pod-security.kubernetes.io/enforce"

// choose says which kind of agent it will be. Whether programs may be run in it is known before anything is created:
// what an ephemeral container leaves in the pod's specification stays there.
func (a *Attacher) choose(ctx context.Context, in Instance, name string) (string, error) {
	if a.Agent.Kind == config.AgentJob {
		return config.AgentJob, a.tryJob(ctx, in)
	}
	ephemeral := a.tryEphemeral(ctx, in, name)
	if ephemeral == nil || a.Agent.Kind == config.AgentEphemeral || !isRefusal(ephemeral) {
		return config.AgentEphemeral, ephemeral
	}
	job := a.tryJob(ctx, in)
	if job != nil {
		return "", neither(ephemeral, job)
	}
	a.log().Info("the cluster does not admit an ephemeral container", zap.Error(ephemeral))
	return config.AgentJob, nil
}

// isRefusal tells that the cluster does not want an agent of this kind; another kind may do.
func isRefusal(err error) bool {
	id := fault.As(err).ID
	return id == fault.AgentRefused || id == fault.Forbidden
}

// neither says why no kind is possible: the first kind's reason, and the second's in its hint.
func neither(ephemeral, job error) error {
	first := fault.As(ephemeral)
	return &fault.Fault{
		ID: first.ID, What: first.What, Err: first.Err,
		Hint: fmt.Sprintf("%s\nAn agent in a pod of its own (\"kind\": \"job\") is not possible either: %s", first.Advice(), fault.As(job).Summary()),
	}
}

// tryEphemeral finds out whether the agent may be an ephemeral container.
func (a *Attacher) tryEphemeral(ctx context.Context, in Instance, name string) error {
	var group errgroup.Group
	group.Go(func() error {
		_, err := a.patch(ctx, in, name, true)
		return addFault(err, in)
	})
	group.Go(func() error { return a.mayExec(ctx, in.Pod.Namespace) })
	return group.Wait()
}

// tryJob finds out whether the agent may be a job, as far as that can be known: what becomes of the job's pod is
// decided when it is made.
func (a *Attacher) tryJob(ctx context.Context, in Instance) error {
	namespace := a.namespace(in)
	var group errgroup.Group
	group.Go(func() error {
		return a.may(ctx, authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "create", Group: "batch", Resource: "jobs"})
	})
	group.Go(func() error {
		return a.may(ctx, authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "watch", Resource: "pods"})
	})
	group.Go(func() error { return a.mayExec(ctx, namespace) })
	group.Go(func() error { return a.admitsJob(ctx, namespace) })
	return group.Wait()
}

// mayExec asks for what an exec needs.
func (a *Attacher) mayExec(ctx context.Context, namespace string) error {
	var group errgroup.Group
	group.Go(func() error {
		return a.may(ctx, authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "create", Resource: "pods", Subresource: "exec"})
	})
	if a.Exec.Transport == exec.WebSocket {
		group.Go(func() error {
			return a.may(ctx, authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "get", Resource: "pods", Subresource: "exec"})
		})
	}
	return group.Wait()
}

// may asks the API server. When it does not say, whatever comes next will.
func (a *Attacher) may(ctx context.Context, what authorizationv1.ResourceAttributes) error {
	review, err := a.Cluster.Client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what},
	}, metav1.CreateOptions{})
	switch {
	case err != nil && (apierrors.IsForbidden(err) || apierrors.IsNotFound(err)):
		a.log().Debug("cannot ask for permissions", zap.Error(err))
		return nil
	case err != nil:
		return api.Fault(err, "ask what is allowed")
	case review.Status.Allowed:
		return nil
	}
	return a.denied(what)
}

func (a *Attacher) denied(what authorizationv1.ResourceAttributes) error {
	d := api.Denied{Verb: what.Verb, Group: what.Group, Resource: what.Resource, Namespace: what.Namespace, User: a.Cluster.User}
	if what.Subresource != "" {
		d.Resource += "/" + what.Subresource
	}
	return &fault.Fault{ID: fault.Forbidden, What: d.String(), Hint: "Ask for the role that this prints: podstep rbac -n " + what.Namespace}
}

// admitsJob looks at the namespace's Pod Security level: the job's pod shares the node's process ids.
func (a *Attacher) admitsJob(ctx context.Context, namespace string) error {
	ns, err := a.Cluster.Client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		if apierrors.IsForbidden(err) {
			return nil
		}
		return api.Fault(err, "read namespace "+namespace)
	}
	if level := ns.Labels[enforceLabel]; level == "baseline" || level == "restricted" {
		return &fault.Fault{
			ID:   fault.AgentRefused,
			What: fmt.Sprintf("namespace %q does not admit the agent's pod: its Pod Security level is %q", namespace, level),
			Err:  errors.New("the agent enters the target's namespaces, for which it shares the node's process ids"),
			Hint: `Let the agent's pod run in a namespace of level "privileged": "agent": {"kind": "job", "namespace": ...}, or leave away what needs it: "incoming": {"mode": "off"} needs no capability.`,
		}
	}
	return nil
}
