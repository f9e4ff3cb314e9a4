package attach

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

// agent is a running agent.
type agent struct {
	Namespace, Pod, Container string
	// Job is the name of the agent's job, empty for an ephemeral container.
	Job string
	// Started says that this call started it.
	Started bool
}

// name tells agents of one instance from each other.
func (a agent) name() string {
	if a.Job != "" {
		return a.Job
	}
	return a.Container
}

func (a agent) String() string {
	if a.Job != "" {
		return fmt.Sprintf("pod/%s in namespace %s", a.Pod, a.Namespace)
	}
	return fmt.Sprintf("container %s of pod/%s", a.Container, a.Pod)
}

// living looks for a running agent that can serve the session, of whichever kind; nil if there is none. Those called like one
// of ended are left out. taken says that one must be there.
func (a *Attacher) living(ctx context.Context, in Instance, ended []string, taken bool) (*agent, error) {
	if ag := livingEphemeral(in, ended); ag != nil {
		return ag, nil
	}
	// Who wants an ephemeral container looks for a job only when told that something is there.
	if a.Agent.Kind == config.AgentEphemeral && !taken {
		return nil, nil
	}
	return a.livingJob(ctx, in, ended)
}

// livingEphemeral looks for one in in's own pod.
func livingEphemeral(in Instance, ended []string) *agent {
	for _, name := range Ephemerals(in.Pod) {
		if !slices.Contains(ended, name) && suits(in, ephemeralSpec(in.Pod, name)) {
			return &agent{Namespace: in.Pod.Namespace, Pod: in.Pod.Name, Container: name}
		}
	}
	return nil
}

// livingJob looks for an agent in a pod of its own. In a session that may do without, it is no fault if that may not be looked for.
func (a *Attacher) livingJob(ctx context.Context, in Instance, ended []string) (*agent, error) {
	pods, err := a.jobPods(ctx, a.namespace(in), label(in.ID))
	if err != nil {
		if a.Agent.Kind != config.AgentJob && apierrors.IsForbidden(err) {
			a.log().Debug("agents in pods of their own cannot be looked for", zap.Error(err))
			return nil, nil
		}
		return nil, api.Fault(err, "look for the agent's pod")
	}
	for i := range pods {
		pod := &pods[i]
		if name := jobOf(pod); isRunning(pod) && !slices.Contains(ended, name) && suitsJob(in.Needs, pod) {
			return &agent{Namespace: pod.Namespace, Pod: pod.Name, Container: container, Job: name}, nil
		}
	}
	return nil, nil
}

func (a *Attacher) jobPods(ctx context.Context, namespace, of string) ([]corev1.Pod, error) {
	list, err := a.Cluster.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labelManaged + "=" + managedBy + "," + labelContainer + "=" + of,
	})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// Ephemerals are the names of the agents that run in ephemeral containers of pod, the youngest first.
func Ephemerals(pod *corev1.Pod) []string {
	var names []string
	for _, s := range pod.Status.EphemeralContainerStatuses {
		if strings.HasPrefix(s.Name, prefix) && s.State.Running != nil {
			names = append(names, s.Name)
		}
	}
	slices.Reverse(names)
	return names
}

// pending is the name of an agent that was added to the pod and does not run yet, and would suit; "" if there is none. Two
// sessions that begin at once share it, and an image that cannot be had does not fill the pod's specification.
func (a *Attacher) pending(in Instance) string {
	for i := range in.Pod.Spec.EphemeralContainers {
		c := &in.Pod.Spec.EphemeralContainers[i]
		if strings.HasPrefix(c.Name, prefix) && c.Image == a.image() && suits(in, c) && isWaiting(in.Pod, c.Name) {
			return c.Name
		}
	}
	return ""
}

// isWaiting tells an ephemeral container that the kubelet has not started yet, or not even seen.
func isWaiting(pod *corev1.Pod, name string) bool {
	for _, s := range pod.Status.EphemeralContainerStatuses {
		if s.Name == name {
			return s.State.Running == nil && s.State.Terminated == nil
		}
	}
	return true
}

func ephemeralSpec(pod *corev1.Pod, name string) *corev1.EphemeralContainer {
	for i, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			return &pod.Spec.EphemeralContainers[i]
		}
	}
	return nil
}

// suits tells whether an agent can serve the session: it has the capabilities, it enforces the same policy, and it looks
// into the target's process if that is wanted.
func suits(in Instance, c *corev1.EphemeralContainer) bool {
	if c == nil || argument(c.Args, "--steal") != string(in.Needs.policy()) {
		return false
	}
	if in.Needs.Process && (c.TargetContainerName != in.Container || argument(c.Args, "--container") != in.ID) {
		return false
	}
	return has(c.SecurityContext, in.Needs.network())
}

func suitsJob(needs Needs, pod *corev1.Pod) bool {
	c := pod.Spec.Containers[0]
	return argument(c.Args, "--steal") == string(needs.policy()) && has(c.SecurityContext, needs.network())
}

// argument is the value behind a flag, "" without it.
func argument(args []string, flag string) string {
	if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// jobOf is the name of the job that pod is of.
func jobOf(pod *corev1.Pod) string {
	if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == "Job" {
		return owner.Name
	}
	return ""
}

func isRunning(pod *corev1.Pod) bool {
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == container && s.State.Running != nil {
			return pod.DeletionTimestamp == nil
		}
	}
	return false
}

// Refresh reads in's pod again, for the agents that came since. It is a fault (TargetGone) if in is no more.
func (a *Attacher) Refresh(ctx context.Context, in Instance) (Instance, error) {
	pod, err := a.Cluster.Client.CoreV1().Pods(in.Pod.Namespace).Get(ctx, in.Pod.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && pod.UID != in.Pod.UID {
		return in, fault.New(fault.TargetGone, in.String()+" is gone", nil)
	}
	if err != nil {
		return in, api.Fault(err, "read "+in.String())
	}
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == in.Container && !strings.HasSuffix(s.ContainerID, "://"+in.ID) {
			return in, fault.New(fault.TargetGone, fmt.Sprintf("container %s of %s was started again", in.Container, in), nil)
		}
	}
	in.Pod = pod
	return in, nil
}

// takenFault says that an agent is there that cannot serve this session, and leaves no room for another.
func (a *Attacher) takenFault(in Instance) error {
	return &fault.Fault{
		ID:   fault.AgentStart,
		What: fmt.Sprintf("%s has an agent that cannot serve this session", in),
		Hint: "It was started for a session that wants less (no environment, or another policy for stealing). Wait until that session ends, or leave away what it lacks.",
	}
}
