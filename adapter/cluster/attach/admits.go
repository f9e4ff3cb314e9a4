package attach

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/adapter/config"
)

// Admits finds out whether an agent of a kind would be admitted beside in, without creating anything. Errors are those of Attach.
func (a *Attacher) Admits(ctx context.Context, in Instance, kind string) error {
	name := newName()
	if kind != config.AgentJob {
		return a.tryEphemeral(ctx, in, name)
	}
	if err := a.tryJob(ctx, in); err != nil {
		return err
	}
	job := a.job(in, name)
	_, err := a.Cluster.Client.BatchV1().Jobs(job.Namespace).Create(ctx, job, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return refusedFault(err, "create the agent's job in namespace "+job.Namespace)
}
