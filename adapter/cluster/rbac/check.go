package rbac

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authorization "k8s.io/client-go/kubernetes/typed/authorization/v1"
)

// reviewsAtOnce bounds the requests that are under way: an API server gives a user a few dozen places at a time.
const reviewsAtOnce = 16

// Missing is one verb that the user does not have.
type Missing struct {
	Grant Grant
	Verb  string
}

// String names it as the API server would: `patch pods/ephemeralcontainers in "shop"`.
func (m Missing) String() string {
	resource := m.Grant.Resource
	if m.Grant.Group != "" {
		resource += "." + m.Grant.Group
	}
	return fmt.Sprintf("%s %s in %q", m.Verb, resource, m.Grant.Namespace)
}

// Check asks the API server which of the grants the user of the client lacks, all at once, and returns them in the grants' order.
func Check(ctx context.Context, client authorization.SelfSubjectAccessReviewsGetter, grants []Grant) ([]Missing, error) {
	type question struct {
		Missing
		allowed bool
	}
	var questions []*question
	for _, g := range grants {
		for _, verb := range g.Verbs {
			questions = append(questions, &question{Missing: Missing{Grant: g, Verb: verb}})
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(reviewsAtOnce)
	for _, q := range questions {
		group.Go(func() (err error) {
			q.allowed, err = allowed(ctx, client, q.Missing)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var missing []Missing
	for _, q := range questions {
		if !q.allowed {
			missing = append(missing, q.Missing)
		}
	}
	return missing, nil
}

func allowed(ctx context.Context, client authorization.SelfSubjectAccessReviewsGetter, m Missing) (bool, error) {
	resource, subresource, _ := strings.Cut(m.Grant.Resource, "/")
	attributes := &authorizationv1.ResourceAttributes{
		Namespace: m.Grant.Namespace, Verb: m.Verb, Group: m.Grant.Group, Resource: resource, Subresource: subresource,
	}
	if m.Grant.OwnNamespace {
		attributes.Name = m.Grant.Namespace
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes}}
	answer, err := client.SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask whether the user may %s: %w", m, err)
	}
	return answer.Status.Allowed, nil
}
