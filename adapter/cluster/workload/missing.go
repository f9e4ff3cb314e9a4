package workload

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/agnivade/levenshtein"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"podstep.dev/internal/fault"
)

// read gets the workload's object.
func (w *Workload) read(ctx context.Context) (*unstructured.Unstructured, error) {
	object, err := w.cluster.Dynamic.Resource(w.kind.resource).Namespace(w.Namespace()).Get(ctx, w.target.Name, metav1.GetOptions{})
	switch {
	case err == nil:
		return object, nil
	case apierrors.IsNotFound(err) && isUnknownResource(err):
		return nil, &fault.Fault{ID: fault.NoTarget, What: fmt.Sprintf("the cluster has no objects of the kind %s", w.target.Kind),
			Hint: fmt.Sprintf("%s.%s is not installed there. See: podstep targets", w.kind.resource.Resource, w.kind.resource.Group)}
	case apierrors.IsNotFound(err):
		return nil, w.missing(ctx, err)
	}
	return nil, w.cluster.Fault(err, "read "+w.String())
}

// isUnknownResource tells the 404 of a path that the API server does not have from that of an object that is not there.
func isUnknownResource(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// missing says that the target does not exist and what the person may have meant: the same name of another kind, or a
// similar name.
func (w *Workload) missing(ctx context.Context, err error) *fault.Fault {
	f := &fault.Fault{ID: fault.NoTarget, What: fmt.Sprintf("there is no %s %q in namespace %q", w.target.Kind, w.target.Name, w.Namespace()),
		Hint: "See: podstep targets -n " + w.Namespace()}
	if err != nil && !apierrors.IsNotFound(err) {
		f.Err = err
	}
	names := w.names(ctx, "deployment", "statefulset", "daemonset", "service", w.target.Kind)
	for _, other := range []string{"deployment", "statefulset", "daemonset", "service"} {
		if other != w.target.Kind && slices.Contains(names[other], w.target.Name) {
			f.Hint = fmt.Sprintf("Did you mean %s/%s? %s", other, w.target.Name, f.Hint)
			return f
		}
	}
	if near := nearest(w.target.Name, names[w.target.Kind]); near != "" {
		f.Hint = fmt.Sprintf("Did you mean %s/%s? %s", w.target.Kind, near, f.Hint)
	}
	return f
}

// names lists what there is of some kinds, in parallel; what cannot be listed is left out.
func (w *Workload) names(ctx context.Context, wanted ...string) map[string][]string {
	found := map[string][]string{}
	var mu sync.Mutex
	var g errgroup.Group
	for _, word := range slices.Compact(slices.Sorted(slices.Values(wanted))) {
		g.Go(func() error {
			list, err := w.cluster.Dynamic.Resource(kinds()[word].resource).Namespace(w.Namespace()).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
			if err != nil {
				return nil //nolint:nilerr // only the advice is the poorer for it
			}
			mu.Lock()
			defer mu.Unlock()
			for _, item := range list.Items {
				found[word] = append(found[word], item.GetName())
			}
			return nil
		})
	}
	_ = g.Wait() // none fails
	return found
}

// nearest returns the name that was probably meant, or "".
func nearest(name string, names []string) string {
	best, least := "", 1+max(2, len(name)/4)
	for _, n := range names {
		if d := levenshtein.ComputeDistance(name, n); d < least {
			best, least = n, d
		}
	}
	return best
}
