package attach

import (
	"context"
	"errors"

	"podstep.dev/adapter/cluster/api"
)

// AttachTargetless returns the connection to an agent in a pod of its own, which stands for any pod of the namespace. It is
// like Attach otherwise.
func (a *Attacher) AttachTargetless(ctx context.Context, namespace string) (*Link, error) {
	if a.Agent.Namespace != "" {
		namespace = a.Agent.Namespace
	}
	for attempt := 0; ; attempt++ {
		ag, err := a.targetless(ctx, namespace, attempt > 0)
		if err != nil {
			return nil, err
		}
		link, err := a.join(ctx, *ag)
		if err == nil || !errors.Is(err, errGone) || attempt == attempts {
			return link, err
		}
	}
}

// targetless finds a living agent, unless it is to be a new one, or starts one.
func (a *Attacher) targetless(ctx context.Context, namespace string, fresh bool) (*agent, error) {
	if !fresh {
		pods, err := a.jobPods(ctx, namespace, targetless)
		if err != nil {
			return nil, api.Fault(err, "look for an agent in namespace "+namespace)
		}
		for i := range pods {
			if pod := &pods[i]; isRunning(pod) {
				return &agent{Namespace: pod.Namespace, Pod: pod.Name, Container: container, Job: jobOf(pod)}, nil
			}
		}
	}
	if err := a.mayExec(ctx, namespace); err != nil {
		return nil, err
	}
	a.say("starting an agent in namespace %s", namespace)
	return a.startJob(ctx, a.targetlessJob(namespace, newName()))
}
