package attach

import (
	"context"
	"errors"

	"go.uber.org/zap"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"podstep.dev/internal/fault"
)

// refusal watches what the job controller says of a job whose pod it may not make: only an Event tells. It returns nil when
// ctx ends, or when Events may not be read.
func (a *Attacher) refusal(ctx context.Context, job *batchv1.Job) error {
	selector := fields.Set{"involvedObject.kind": "Job", "involvedObject.name": job.Name}.AsSelector()
	w, err := a.Cluster.Client.CoreV1().Events(job.Namespace).Watch(ctx, metav1.ListOptions{FieldSelector: selector.String()})
	if err != nil {
		a.log().Debug("the job's events cannot be read", zap.Error(err))
		return nil
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		e, ok := event.Object.(*corev1.Event)
		if ok && e.Type == corev1.EventTypeWarning && e.Reason == "FailedCreate" {
			return fault.New(fault.AgentRefused, "the cluster does not admit the agent's pod", errors.New(e.Message))
		}
	}
	return nil
}
