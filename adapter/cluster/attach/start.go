package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.uber.org/zap"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

// errTaken says that another agent was there first.
var errTaken = errors.New("another agent is there")

// start starts an agent and waits until it runs.
func (a *Attacher) start(ctx context.Context, in Instance) (*agent, error) {
	if name := a.pending(in); name != "" && a.Agent.Kind != config.AgentJob {
		a.say("waiting for the agent beside %s", in)
		return a.runningEphemeral(ctx, in, in.Pod, name)
	}
	name := newName()
	kind, err := a.choose(ctx, in, name)
	if err != nil {
		return nil, err
	}
	if kind == config.AgentEphemeral {
		a.say("starting the agent beside %s", in)
		return a.startEphemeral(ctx, in, name)
	}
	a.say("starting the agent of %s on node %s", in, in.Pod.Spec.NodeName)
	return a.startJob(ctx, a.job(in, name))
}

// startEphemeral adds the agent to in's pod as it was seen. Who comes second sees the pod changed, and takes the first one's.
func (a *Attacher) startEphemeral(ctx context.Context, in Instance, name string) (*agent, error) {
	for attempt := 1; ; attempt++ {
		pod, err := a.patch(ctx, in, name, false)
		if err == nil {
			a.log().Info("agent added", zap.String("pod", in.Pod.Name), zap.String("container", name))
			return a.runningEphemeral(ctx, in, pod, name)
		}
		if !apierrors.IsConflict(err) || attempt == attempts {
			return nil, addFault(err, in)
		}
		if in, err = a.Refresh(ctx, in); err != nil {
			return nil, err
		}
		if other := livingEphemeral(in, nil); other != nil {
			return other, nil
		}
		if other := a.pending(in); other != "" {
			return a.runningEphemeral(ctx, in, in.Pod, other)
		}
	}
}

// runningEphemeral waits for an agent that was added.
func (a *Attacher) runningEphemeral(ctx context.Context, in Instance, pod *corev1.Pod, name string) (*agent, error) {
	if err := a.awaitEphemeral(ctx, pod, name); err != nil {
		return nil, err
	}
	return &agent{Namespace: in.Pod.Namespace, Pod: in.Pod.Name, Container: name, Started: true}, nil
}

// patch adds the agent to in's pod, unless that has changed since it was seen (a conflict); a dry one only asks whether that
// would do.
func (a *Attacher) patch(ctx context.Context, in Instance, name string, dry bool) (*corev1.Pod, error) {
	change := map[string]any{"spec": map[string]any{"ephemeralContainers": []corev1.EphemeralContainer{a.ephemeral(in, name)}}}
	var opts metav1.PatchOptions
	if dry {
		opts.DryRun = []string{metav1.DryRunAll}
	} else {
		change["metadata"] = map[string]any{"resourceVersion": in.Pod.ResourceVersion}
	}
	body, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	return a.Cluster.Client.CoreV1().Pods(in.Pod.Namespace).Patch(ctx, in.Pod.Name, types.StrategicMergePatchType, body, opts, "ephemeralcontainers")
}

// startJob creates the job and waits until its pod runs. It is removed if that does not come about.
func (a *Attacher) startJob(ctx context.Context, job *batchv1.Job) (_ *agent, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := a.Cluster.Client.BatchV1().Jobs(job.Namespace).Create(ctx, job, metav1.CreateOptions{}); err != nil {
		return nil, refusedFault(err, "create the agent's job in namespace "+job.Namespace)
	}
	a.log().Info("agent's job created", zap.String("namespace", job.Namespace), zap.String("job", job.Name))
	pod, err := a.awaitJob(ctx, job)
	if err != nil {
		_ = a.remove(context.WithoutCancel(ctx), job.Namespace, job.Name)
		return nil, err
	}
	return &agent{Namespace: job.Namespace, Pod: pod, Container: container, Job: job.Name, Started: true}, nil
}

// addFault says why an agent cannot be added to in's pod.
func addFault(err error, in Instance) error {
	if apierrors.IsNotFound(err) {
		return fault.New(fault.TargetGone, in.String()+" is gone", nil)
	}
	return refusedFault(err, "add the agent to "+in.String())
}

// refusedFault tells a policy's refusal of the agent from a permission that is missing.
func refusedFault(err error, doing string) error {
	_, denied := api.DeniedBy(err)
	var status apierrors.APIStatus
	admission := apierrors.IsForbidden(err) && !denied || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
	if admission && errors.As(err, &status) {
		return fault.New(fault.AgentRefused, "cannot "+doing, fmt.Errorf("the cluster says: %w", err))
	}
	return api.Fault(err, doing)
}
