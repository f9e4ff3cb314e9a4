package checkup

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/doctor"
	"podstep.dev/internal/fault"
)

// roundTrips is how often the server's answer is timed; the shortest counts, because the other checks ask at the same time.
const roundTrips = 15

// kubeconfig says what of it was chosen. Without any, a session with a process of this machine still works.
func (c *Checkup) kubeconfig() doctor.Finding {
	cluster, err := c.connect()
	if err != nil {
		state := doctor.Fail
		if c.opts.Kubeconfig == "" && c.opts.Context == "" && c.opts.Namespace == "" && c.opts.Target == "" {
			state = doctor.Warn // nothing was said of a cluster
		}
		return doctor.Of(state, err)
	}
	return doctor.Finding{State: doctor.OK, Found: fmt.Sprintf("context %s, namespace %s", cluster, cluster.Namespace)}
}

// server says who is there, how far away, and for whom it takes the user.
func (c *Checkup) server(ctx context.Context) doctor.Finding {
	cluster, err := c.connect()
	if err != nil {
		return doctor.Finding{State: doctor.Skip, Found: "there is no kubeconfig to reach a cluster by"}
	}
	user, err := c.who(ctx, cluster)
	if err != nil {
		return doctor.Of(doctor.Fail, err)
	}
	release, took, err := greet(ctx, cluster)
	if err != nil {
		return doctor.Of(doctor.Fail, err)
	}
	f := doctor.Finding{State: doctor.OK, Found: fmt.Sprintf("Kubernetes %s at %s, %s away, as %s", release.GitVersion, cluster.Config.Host, took.Round(100*time.Microsecond), user)}
	// Ephemeral containers are general since 1.25.
	if minor, err := strconv.Atoi(strings.TrimRight(release.Minor, "+")); err == nil && release.Major == "1" && minor < 25 {
		f.State, f.Do = doctor.Warn, `Before Kubernetes 1.25 there are no ephemeral containers: use "agent": {"kind": "job"}.`
	}
	return f
}

// greet asks for the version, which everybody may, over a connection that stands.
func greet(ctx context.Context, cluster *api.Cluster) (*version.Info, time.Duration, error) {
	var release *version.Info
	var least time.Duration
	for range roundTrips {
		began := time.Now()
		text, err := cluster.Client.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
		got := &version.Info{}
		if err == nil {
			err = json.Unmarshal(text, got)
		}
		if err != nil {
			return nil, 0, cluster.Fault(err, "ask for the server's version")
		}
		if took := time.Since(began); release == nil || took < least {
			least = took
		}
		release = got
	}
	return release, least, nil
}

// who asks the API server whom it takes the user for; it also tells whether the cluster is reached at all.
func (c *Checkup) who(ctx context.Context, cluster *api.Cluster) (string, error) {
	return c.user.get(func() (string, error) {
		review, err := cluster.Client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		switch {
		case err == nil:
			return review.Status.UserInfo.Username, nil
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err): // before Kubernetes 1.28, or not allowed: it answers
			return cluster.User, nil
		}
		return "", fault.Or(cluster.Fault(err, "ask for the user"), fault.NoCluster, "cannot reach "+cluster.String())
	})
}
