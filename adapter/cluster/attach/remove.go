package attach

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"podstep.dev/adapter/cluster/api"
)

// removal bounds one removal: whoever ends a session waits for it.
const removal = 3 * time.Second

// remove deletes a job and, in the background, its pod. That it is gone already is no error.
func (a *Attacher) remove(ctx context.Context, namespace, job string) error {
	ctx, cancel := context.WithTimeout(ctx, removal)
	defer cancel()
	err := a.Cluster.Client.BatchV1().Jobs(namespace).Delete(ctx, job, metav1.DeleteOptions{
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return api.Fault(err, "remove the agent's job "+job)
}
