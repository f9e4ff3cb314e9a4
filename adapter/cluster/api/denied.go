package api

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Denied is one request that the API server's authorisation refused.
type Denied struct {
	Verb string
	// Group is the API group, empty for the core one.
	Group string
	// Resource is plural, with the subresource: "pods/exec".
	Resource string
	// Name is the object's, empty if the request is for none or for many.
	Name string
	// Namespace is empty for a request at the cluster scope.
	Namespace string
	// User is who asked, as the API server sees them.
	User string
}

// String says it to a person: may not create pods/exec of "web-0" in namespace "shop" as "bob".
func (d Denied) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "may not %s %s", d.Verb, d.Resource)
	if d.Group != "" {
		fmt.Fprintf(&b, ".%s", d.Group)
	}
	if d.Name != "" {
		if strings.Contains(d.Resource, "/") {
			b.WriteString(" of")
		}
		fmt.Fprintf(&b, " %q", d.Name)
	}
	if d.Namespace != "" {
		fmt.Fprintf(&b, " in namespace %q", d.Namespace)
	}
	if d.User != "" {
		fmt.Fprintf(&b, " as %q", d.User)
	}
	return b.String()
}

// DeniedBy takes the API server's refusal apart. It is false for other errors, those of admission included.
func DeniedBy(err error) (Denied, bool) {
	var status apierrors.APIStatus
	if !apierrors.IsForbidden(err) || !errors.As(err, &status) {
		return Denied{}, false
	}
	// The words are those of forbiddenMessage in k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go; the
	// status has no field for verb, namespace and user.
	words := regexp.MustCompile(`User "(.*?)" cannot (\S+) resource "([^"]*)" in API group "([^"]*)"(?: in the namespace "([^"]*)")?`)
	m := words.FindStringSubmatch(status.Status().Message)
	if m == nil {
		return Denied{}, false
	}
	d := Denied{User: m[1], Verb: m[2], Resource: m[3], Group: m[4], Namespace: m[5]}
	if details := status.Status().Details; details != nil {
		d.Name = details.Name
	}
	return d, true
}
