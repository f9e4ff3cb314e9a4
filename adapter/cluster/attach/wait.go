package attach

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
)

const (
	// patience bounds how long an agent may take to run; that includes pulling its image of some megabytes.
	patience = 2 * time.Minute
	// slowness is when the person is told that it takes long.
	slowness = 5 * time.Second
	// farewell is how long an agent that ended may take to be reported.
	farewell = 3 * time.Second
	// pause is between two watches that the API server ended.
	pause = 200 * time.Millisecond
	// statusTaken is the exit status of an agent that finds another one in the target's network (sysexits.h, EX_TEMPFAIL).
	statusTaken = 75
)

// progress is what was seen last of an agent that is being started, for the fault when it takes too long.
type progress struct{ last string }

// awaitEphemeral waits until the ephemeral container runs. pod is as the patch left it.
func (a *Attacher) awaitEphemeral(ctx context.Context, pod *corev1.Pod, name string) error {
	var p progress
	look := func(pod *corev1.Pod) (bool, error) {
		for _, s := range pod.Status.EphemeralContainerStatuses {
			if s.Name == name {
				return p.look(s)
			}
		}
		if pod.DeletionTimestamp != nil {
			return false, fault.New(fault.TargetGone, fmt.Sprintf("pod/%s is being deleted", pod.Name), nil)
		}
		return false, nil
	}
	if done, err := look(pod); done || err != nil {
		return err
	}
	opts := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", pod.Name).String(), ResourceVersion: pod.ResourceVersion}
	_, err := a.await(ctx, &p, pod.Namespace, opts, look)
	return err
}

// awaitJob waits until the job's pod runs, and returns its name.
func (a *Attacher) awaitJob(ctx context.Context, job *batchv1.Job) (string, error) {
	var p progress
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	refusals := make(chan struct{})
	go func() {
		defer close(refusals)
		if err := a.refusal(ctx, job); err != nil {
			cancel(err)
		}
	}()
	defer func() { cancel(nil); <-refusals }()
	opts := metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job.Name}
	pod, err := a.await(ctx, &p, job.Namespace, opts, func(pod *corev1.Pod) (bool, error) {
		for _, s := range pod.Status.ContainerStatuses {
			if s.Name == container {
				return p.look(s)
			}
		}
		return false, p.lookPod(pod)
	})
	if err != nil {
		return "", err
	}
	return pod.Name, nil
}

// outcome waits a moment for the end of an agent that ran and could not be joined, and says what the kubelet says of it. nil: it
// has not ended.
func (a *Attacher) outcome(ctx context.Context, ag agent) error {
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	var p progress
	opts := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", ag.Pod).String()}
	_, err := a.follow(ctx, &p, ag.Namespace, opts, func(pod *corev1.Pod) (bool, error) {
		for _, s := range slices.Concat(pod.Status.EphemeralContainerStatuses, pod.Status.ContainerStatuses) {
			if s.Name == ag.Container && s.State.Terminated != nil {
				return true, endedFault(s, s.State.Terminated)
			}
		}
		return false, nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// await follows pods until look is satisfied with one.
func (a *Attacher) await(ctx context.Context, p *progress, namespace string, opts metav1.ListOptions, look func(*corev1.Pod) (bool, error)) (*corev1.Pod, error) {
	late := errors.New("late")
	ctx, cancel := context.WithTimeoutCause(ctx, patience, late)
	defer cancel()
	slow := time.AfterFunc(slowness, func() { a.say("the agent is not running yet; its image may be on its way to the node") })
	defer slow.Stop()
	for {
		pod, err := a.follow(ctx, p, namespace, opts, look)
		if pod != nil || err != nil && ctx.Err() == nil {
			return pod, err
		}
		if ctx.Err() == nil {
			// The server ended the watch, or what it was to begin with is too old: begin with what is there.
			opts.ResourceVersion = ""
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		}
		if ctx.Err() != nil {
			return nil, p.lateFault(ctx, late)
		}
	}
}

func (p *progress) lateFault(ctx context.Context, late error) error {
	cause := context.Cause(ctx)
	var known *fault.Fault
	switch {
	case errors.As(cause, &known):
		return known
	case !errors.Is(cause, late):
		return fault.New(fault.AgentPending, "the agent was not waited for", cause)
	}
	last := p.last
	if last == "" {
		last = "the kubelet has not said anything of it"
	}
	return fault.New(fault.AgentPending, fmt.Sprintf("the agent does not run after %v", patience), errors.New(last))
}

// follow is one watch: nil, nil when it ended.
func (a *Attacher) follow(ctx context.Context, p *progress, namespace string, opts metav1.ListOptions, look func(*corev1.Pod) (bool, error)) (*corev1.Pod, error) {
	w, err := a.Cluster.Client.CoreV1().Pods(namespace).Watch(ctx, opts)
	if err != nil {
		// What is temporary is tried again: the agent is there, and another would be one too many.
		if err = api.Fault(err, "watch the agent's pod"); place.IsTemporary(err) {
			p.last = fault.As(err).Summary()
			return nil, nil
		}
		return nil, err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		switch {
		case !ok:
			return nil, nil
		case event.Type == watch.Deleted:
			return nil, fault.New(fault.TargetGone, fmt.Sprintf("pod/%s was deleted", pod.Name), nil)
		}
		if done, err := look(pod); done || err != nil {
			return pod, err
		}
	}
	return nil, nil
}

// look says whether a container runs, or will not.
func (p *progress) look(s corev1.ContainerStatus) (running bool, err error) {
	switch state := s.State; {
	case state.Running != nil:
		return true, nil
	case state.Terminated != nil:
		return false, endedFault(s, state.Terminated)
	case state.Waiting != nil:
		p.last = words(state.Waiting.Reason, state.Waiting.Message)
		return false, waitingFault(s, state.Waiting)
	}
	return false, nil
}

// lookPod says whether a pod without a status of its container will not run.
func (p *progress) lookPod(pod *corev1.Pod) error {
	if pod.Status.Phase == corev1.PodFailed {
		return fault.New(fault.AgentPending, "the node does not take the agent's pod", errors.New(words(pod.Status.Reason, pod.Status.Message)))
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			p.last = words(c.Reason, c.Message)
			if c.Reason == corev1.PodReasonUnschedulable {
				return fault.New(fault.AgentPending, "no node takes the agent's pod", errors.New(c.Message))
			}
		}
	}
	return nil
}

// waitingFault tells what does not get better by waiting from what does, by the kubelet's reasons
// (k8s.io/kubernetes/pkg/kubelet/images/types.go, container/sync_result.go).
func waitingFault(s corev1.ContainerStatus, w *corev1.ContainerStateWaiting) error {
	said := errors.New(words(w.Reason, w.Message))
	switch w.Reason {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		return fault.New(fault.AgentImage, fmt.Sprintf("the node cannot get the agent's image %s", s.Image), said)
	case "RunContainerError", "CreateContainerError":
		if isNoProgram(w.Message) {
			return fault.New(fault.AgentImage, fmt.Sprintf("the agent's image %s does not run on the node", s.Image), said)
		}
		return fault.New(fault.AgentPending, "the node cannot start the agent", said)
	case "CreateContainerConfigError", "PreCreateHookError", "CrashLoopBackOff":
		return fault.New(fault.AgentPending, "the node cannot start the agent", said)
	}
	return nil
}

// endedFault says how an agent ended that was not yet seen running.
func endedFault(s corev1.ContainerStatus, t *corev1.ContainerStateTerminated) error {
	said := errors.New(words(t.Reason, strings.TrimSpace(t.Message)))
	switch {
	case t.ExitCode == statusTaken:
		return fmt.Errorf("%w: %w", errTaken, said)
	case t.Reason == "StartError" || t.Reason == "ContainerCannotRun":
		return fault.New(fault.AgentImage, fmt.Sprintf("the agent's image %s does not run on the node", s.Image), said)
	}
	return fault.New(fault.AgentStart, fmt.Sprintf("the agent ended at once with status %d", t.ExitCode), said)
}

func words(reason, message string) string {
	if message == "" {
		return reason
	}
	return reason + ": " + message
}
