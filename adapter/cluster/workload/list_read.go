package workload

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/metadata"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/internal/fault"
)

// reader lists everything that a list of targets is made of, in parallel and from the API server's cache.
type reader struct {
	cluster *api.Cluster
	// namespace is empty for all. agents is where agents have pods of their own, empty if that is the same.
	namespace, agents string

	pods         []corev1.Pod
	agentPods    []corev1.Pod
	deployments  []appsv1.Deployment
	statefulSets []appsv1.StatefulSet
	daemonSets   []appsv1.DaemonSet
	jobs         []batchv1.Job
	cronJobs     []batchv1.CronJob
	services     []corev1.Service
	rollouts     []unstructured.Unstructured
	// replicaSets and namespaces have their metadata only.
	replicaSets, namespaces []metav1.PartialObjectMetadata

	mu      sync.Mutex
	missing []string
	// first is the first refusal.
	first error
}

// read lists. Its error is that of a cluster of which nothing can be listed, or that does not answer.
func (r *reader) read(ctx context.Context) error {
	client, n, o := r.cluster.Client, r.namespace, metav1.ListOptions{ResourceVersion: "0"}
	meta, err := metadata.NewForConfigAndClient(metadata.ConfigFor(r.cluster.Config), r.cluster.HTTP)
	if err != nil {
		return r.cluster.Fault(err, "list the targets")
	}
	reads := map[string]func(context.Context) error{
		"pods": func(ctx context.Context) error {
			l, err := client.CoreV1().Pods(n).List(ctx, o)
			return take(&r.pods, l, err, func() []corev1.Pod { return l.Items })
		},
		"deployments": func(ctx context.Context) error {
			l, err := client.AppsV1().Deployments(n).List(ctx, o)
			return take(&r.deployments, l, err, func() []appsv1.Deployment { return l.Items })
		},
		"statefulsets": func(ctx context.Context) error {
			l, err := client.AppsV1().StatefulSets(n).List(ctx, o)
			return take(&r.statefulSets, l, err, func() []appsv1.StatefulSet { return l.Items })
		},
		"daemonsets": func(ctx context.Context) error {
			l, err := client.AppsV1().DaemonSets(n).List(ctx, o)
			return take(&r.daemonSets, l, err, func() []appsv1.DaemonSet { return l.Items })
		},
		"jobs": func(ctx context.Context) error {
			l, err := client.BatchV1().Jobs(n).List(ctx, o)
			return take(&r.jobs, l, err, func() []batchv1.Job { return l.Items })
		},
		"cronjobs": func(ctx context.Context) error {
			l, err := client.BatchV1().CronJobs(n).List(ctx, o)
			return take(&r.cronJobs, l, err, func() []batchv1.CronJob { return l.Items })
		},
		"services": func(ctx context.Context) error {
			l, err := client.CoreV1().Services(n).List(ctx, o)
			return take(&r.services, l, err, func() []corev1.Service { return l.Items })
		},
		"replicasets": func(ctx context.Context) error {
			l, err := meta.Resource(kinds()["replicaset"].resource).Namespace(n).List(ctx, o)
			return take(&r.replicaSets, l, err, func() []metav1.PartialObjectMetadata { return l.Items })
		},
		"rollouts": func(ctx context.Context) error {
			l, err := r.cluster.Dynamic.Resource(kinds()["rollout"].resource).Namespace(n).List(ctx, o)
			if apierrors.IsNotFound(err) {
				return nil // Argo Rollouts is not installed
			}
			return take(&r.rollouts, l, err, func() []unstructured.Unstructured { return l.Items })
		},
		"namespaces": func(ctx context.Context) error { return r.readNamespaces(ctx, meta) },
	}
	enough := len(reads) - 2
	if r.agents != "" && n != "" && r.agents != n {
		reads["agents' pods in "+r.agents] = func(ctx context.Context) error {
			l, err := client.CoreV1().Pods(r.agents).List(ctx, metav1.ListOptions{ResourceVersion: "0", LabelSelector: agentManaged + "=" + agentManager + "," + agentContainer})
			return take(&r.agentPods, l, err, func() []corev1.Pod { return l.Items })
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for what, read := range reads {
		g.Go(func() error { return r.tolerate(what, read(ctx)) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	// The namespace is no target, and rollouts need not be there: both may be missing and something be listed.
	if len(r.missing) >= enough && r.first != nil {
		return r.cluster.Fault(r.first, "list the targets")
	}
	slices.Sort(r.missing)
	return nil
}

// take keeps a list's items.
func take[L any, T any](into *[]T, _ L, err error, items func() []T) error {
	if err == nil {
		*into = items()
	}
	return err
}

// tolerate turns a refusal into something missing.
func (r *reader) tolerate(what string, err error) error {
	if err == nil {
		return nil
	}
	if !apierrors.IsForbidden(err) {
		return r.cluster.Fault(err, "list the "+what)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missing = append(r.missing, fmt.Sprintf("%s: %s", what, reason(api.Fault(err, "list the "+what))))
	if r.first == nil {
		r.first = err
	}
	return nil
}

// readNamespaces reads what the namespaces' annotations say. One that does not exist is a fault.
func (r *reader) readNamespaces(ctx context.Context, client metadata.Interface) error {
	resource := corev1.SchemeGroupVersion.WithResource("namespaces")
	if r.namespace == "" {
		l, err := client.Resource(resource).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		return take(&r.namespaces, l, err, func() []metav1.PartialObjectMetadata { return l.Items })
	}
	one, err := client.Resource(resource).Get(ctx, r.namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return noNamespace(r.cluster, r.namespace)
	}
	return take(&r.namespaces, one, err, func() []metav1.PartialObjectMetadata { return []metav1.PartialObjectMetadata{*one} })
}

func noNamespace(c *api.Cluster, name string) *fault.Fault {
	return &fault.Fault{ID: fault.NoTarget, What: fmt.Sprintf("there is no namespace %q in %s", name, c), Hint: `Correct "namespace" (-n) or "context".`}
}
