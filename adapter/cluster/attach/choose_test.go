package attach

import (
	"errors"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/attach/exec"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
)

// fakeCluster refuses what its fields say.
type fakeCluster struct {
	// patch is the answer to adding an ephemeral container; nil admits it.
	patch error
	// denied are the permissions that are missing: "create pods/exec".
	denied []string
	// level is the namespace's Pod Security level.
	level string
	// noNamespaces : the namespace may not be read.
	noNamespaces bool

	created []string // what was not dry
}

func (f *fakeCluster) attacher(kind string) *Attacher {
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{enforceLabel: f.level}}})
	client.PrependReactor("patch", "pods", func(action k8stesting.Action) (bool, runtime.Object, error) {
		patch := action.(k8stesting.PatchActionImpl)
		if len(patch.PatchOptions.DryRun) == 0 {
			f.created = append(f.created, "ephemeral")
		}
		return true, &corev1.Pod{}, f.patch
	})
	client.PrependReactor("create", "selfsubjectaccessreviews", func(action k8stesting.Action) (bool, runtime.Object, error) {
		review := action.(k8stesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		what := review.Spec.ResourceAttributes
		asked := what.Verb + " " + what.Resource
		if what.Subresource != "" {
			asked += "/" + what.Subresource
		}
		review.Status.Allowed = true
		for _, d := range f.denied {
			review.Status.Allowed = review.Status.Allowed && d != asked
		}
		return true, review, nil
	})
	if f.noNamespaces {
		client.PrependReactor("get", "namespaces", func(k8stesting.Action) (bool, runtime.Object, error) {
			return true, nil, forbiddenVerb("get", "namespaces", "shop")
		})
	}
	return &Attacher{Cluster: &api.Cluster{Client: client, Namespace: "shop", User: "bob"}, Exec: &exec.Dialer{}, Agent: config.Agent{Kind: kind}}
}

// forbiddenVerb is the API server's refusal by RBAC.
func forbiddenVerb(verb, resource, name string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, name,
		errors.New(`User "bob" cannot `+verb+` resource "`+resource+`" in API group "" in the namespace "shop"`))
}

// refusedByLevel is its refusal by Pod Security.
func refusedByLevel() error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "web-0",
		errors.New(`violates PodSecurity "baseline:latest": non-default capabilities (container "podstep-x" must not include "NET_ADMIN" in securityContext.capabilities.add)`))
}

func TestChoiceOfKind(t *testing.T) {
	for name, tc := range map[string]struct {
		kind    string
		cluster fakeCluster
		want    string   // the kind, or
		id      fault.ID // the fault
		words   []string
	}{
		"everything is allowed":        {config.AgentAuto, fakeCluster{}, config.AgentEphemeral, 0, nil},
		"a job is wanted":              {config.AgentJob, fakeCluster{}, config.AgentJob, 0, nil},
		"the level admits only a job?": {config.AgentAuto, fakeCluster{patch: refusedByLevel()}, config.AgentJob, 0, nil},
		"no right to patch":            {config.AgentAuto, fakeCluster{patch: forbiddenVerb("patch", "pods/ephemeralcontainers", "web-0")}, config.AgentJob, 0, nil},
		"the level admits none": {
			config.AgentAuto, fakeCluster{patch: refusedByLevel(), level: "baseline"}, "", fault.AgentRefused,
			[]string{`violates PodSecurity "baseline:latest"`, `must not include "NET_ADMIN"`, `level is "baseline"`, `"job"`},
		},
		"the level admits no job": {config.AgentJob, fakeCluster{level: "restricted"}, "", fault.AgentRefused, []string{`level is "restricted"`, `"namespace"`}},
		"the level is not known":  {config.AgentJob, fakeCluster{level: "restricted", noNamespaces: true}, config.AgentJob, 0, nil},
		"ephemeral, refused":      {config.AgentEphemeral, fakeCluster{patch: refusedByLevel()}, "", fault.AgentRefused, []string{"NET_ADMIN"}},
		"ephemeral, no right": {
			config.AgentEphemeral, fakeCluster{patch: forbiddenVerb("patch", "pods/ephemeralcontainers", "web-0")}, "", fault.Forbidden,
			[]string{`may not patch pods/ephemeralcontainers of "web-0" in namespace "shop" as "bob"`, "podstep rbac -n shop"},
		},
		"no exec": {
			config.AgentAuto, fakeCluster{denied: []string{"create pods/exec"}}, "", fault.Forbidden,
			[]string{`may not create pods/exec in namespace "shop" as "bob"`, "podstep rbac -n shop", "not possible either"},
		},
		"no jobs": {
			config.AgentJob, fakeCluster{denied: []string{"create jobs"}}, "", fault.Forbidden, []string{"may not create jobs.batch in namespace \"shop\""},
		},
		"neither": {
			config.AgentAuto, fakeCluster{patch: refusedByLevel(), denied: []string{"create jobs"}}, "", fault.AgentRefused,
			[]string{"NET_ADMIN", "not possible either: may not create jobs.batch"},
		},
		"the pod is gone":         {config.AgentAuto, fakeCluster{patch: apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "web-0")}, "", fault.TargetGone, []string{"pod/web-0 is gone"}},
		"the server is not there": {config.AgentAuto, fakeCluster{patch: apierrors.NewServiceUnavailable("starting")}, "", fault.NoCluster, []string{"does not answer"}},
		"a static pod": {
			config.AgentEphemeral, fakeCluster{patch: apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "web-0", nil)}, "", fault.AgentRefused, []string{"the cluster says"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tc.cluster.attacher(tc.kind).choose(t.Context(), instance(0, Needs{Steal: true}), "podstep-x")
			if len(tc.cluster.created) > 0 {
				t.Errorf("created %v", tc.cluster.created)
			}
			if tc.id == 0 {
				if err != nil || got != tc.want {
					t.Fatalf("got %q, %v; want %q", got, err, tc.want)
				}
				return
			}
			var f *fault.Fault
			if !errors.As(err, &f) || f.ID != tc.id {
				t.Fatalf("got %q, %v; want fault %d", got, err, tc.id)
			}
			for _, words := range tc.words {
				if !strings.Contains(f.Error(), words) {
					t.Errorf("%q lacks %q", f, words)
				}
			}
		})
	}
}

func TestATemporaryErrorChoosesNothing(t *testing.T) {
	cluster := fakeCluster{patch: apierrors.NewServiceUnavailable("starting")}
	if _, err := cluster.attacher(config.AgentAuto).choose(t.Context(), instance(0, Needs{}), "podstep-x"); !place.IsTemporary(err) {
		t.Errorf("got %v, want what may go by itself", err)
	}
}
