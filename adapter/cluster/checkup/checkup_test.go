package checkup

import (
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/doctor"
)

// visit is a checkup of a cluster in which the namespace shop has those labels and annotations, and anna lacks what denied says.
func visit(t *testing.T, o Options, labels, annotations map[string]string, denied func(*authorizationv1.ResourceAttributes) bool) map[string]doctor.Finding {
	t.Helper()
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: labels, Annotations: annotations}})
	client.PrependReactor("create", "selfsubjectreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: "anna"}}}, nil
	})
	client.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		review.Status.Allowed = denied == nil || !denied(review.Spec.ResourceAttributes)
		return true, review, nil
	})
	c := New(o)
	c.connect = func() (*api.Cluster, error) { return &api.Cluster{Client: client, Namespace: "shop"}, nil }
	found := map[string]doctor.Finding{}
	checks := slices.DeleteFunc(c.Checks(), func(c doctor.Check) bool { return c.Name == "server" }) // the fake has no server
	doctor.Run(t.Context(), checks, func(doctor.Check) {}, func(c doctor.Check, f doctor.Finding) { found[c.Name] = f })
	return found
}

func TestCheckupTellsWhatTheNamespaceAllows(t *testing.T) {
	const enforceLabel = "pod-security.kubernetes.io/enforce"
	tests := map[string]struct {
		opts                Options
		labels, annotations map[string]string
		check               string
		state               doctor.State
		found, ask          string
	}{
		"no level":           {check: "pod security", state: doctor.OK, found: "every kind of session"},
		"privileged":         {labels: map[string]string{enforceLabel: "privileged"}, check: "pod security", state: doctor.OK, found: "every kind of session"},
		"baseline":           {labels: map[string]string{enforceLabel: "baseline"}, check: "pod security", state: doctor.Warn, found: "neither steal nor mirror", ask: "podstep rbac -n shop --agent job --agent-namespace podstep --user anna"},
		"restricted":         {labels: map[string]string{enforceLabel: "restricted"}, check: "pod security", state: doctor.Warn, found: "no root", ask: "--agent-namespace podstep"},
		"an agent elsewhere": {opts: Options{Agent: config.Agent{Kind: config.AgentJob, Namespace: "tools"}}, labels: map[string]string{enforceLabel: "restricted"}, check: "pod security", state: doctor.OK, found: "tools"},
		"no word":            {check: "steal annotation", state: doctor.OK, found: "is allowed"},
		"filtered":           {annotations: map[string]string{"podstep.dev/steal": "filtered-only"}, check: "steal annotation", state: doctor.Warn, found: "only filtered"},
		"deny":               {annotations: map[string]string{"podstep.dev/steal": "deny"}, check: "steal annotation", state: doctor.Warn, found: "is denied"},
		"another word":       {annotations: map[string]string{"podstep.dev/steal": "dney"}, check: "steal annotation", state: doctor.Warn, found: "is denied"},
		"no pod":             {check: "ephemeral agent", state: doctor.Skip, found: "no running pod"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := visit(t, tt.opts, tt.labels, tt.annotations, nil)[tt.check]
			if got.State != tt.state || !strings.Contains(got.Found, tt.found) || !strings.Contains(got.Ask, tt.ask) || (tt.ask == "") != (got.Ask == "") {
				t.Errorf("%s: %+v, want %s with %q, asking for %q", tt.check, got, tt.state, tt.found, tt.ask)
			}
		})
	}
}

func TestCheckupAsksForOneRole(t *testing.T) {
	everything := func(*authorizationv1.ResourceAttributes) bool { return true }
	jobs := func(a *authorizationv1.ResourceAttributes) bool { return a.Group == "batch" && a.Verb == "create" }
	tests := map[string]struct {
		denied func(*authorizationv1.ResourceAttributes) bool
		agent  config.Agent
		states string // of finding targets, the ephemeral agent, the job agent
		ask    string
	}{
		"all is missing":               {everything, config.Agent{}, "fail fail fail", "permissions: podstep rbac -n shop --user anna | kubectl apply -f -"},
		"all, and a job is wanted":     {everything, config.Agent{Kind: config.AgentJob, Namespace: "tools"}, "fail fail fail", "permissions: podstep rbac -n shop --agent job --agent-namespace tools --user anna | kubectl apply -f -"},
		"one kind of agent is enough":  {jobs, config.Agent{}, "ok ok ok", ""},
		"unless it is the one to have": {jobs, config.Agent{Kind: config.AgentJob}, "ok ok fail", "permissions: podstep rbac -n shop --agent job --user anna | kubectl apply -f -"},
		"only workloads":               {func(a *authorizationv1.ResourceAttributes) bool { return a.Group == "apps" }, config.Agent{}, "warn ok ok", "permissions: podstep rbac -n shop --user anna | kubectl apply -f -"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			found := visit(t, Options{Agent: tt.agent}, nil, nil, tt.denied)
			var states, asks []string
			for _, check := range []string{"may find targets", "may start an ephemeral agent", "may start a job agent"} {
				states = append(states, string(found[check].State))
				if ask := found[check].Ask; ask != "" && !slices.Contains(asks, ask) {
					asks = append(asks, ask)
				}
			}
			if got := strings.Join(states, " "); got != tt.states || strings.Join(asks, "\n") != tt.ask {
				t.Errorf("%s, asks for %q; want %s and %q", got, asks, tt.states, tt.ask)
			}
		})
	}
}

func TestCheckupLeavesOutWhatNeedsACluster(t *testing.T) {
	c := New(Options{Kubeconfig: "/none"})
	doctor.Run(t.Context(), c.Checks(), func(doctor.Check) {}, func(check doctor.Check, f doctor.Finding) {
		want := doctor.Skip
		if check.Name == "kubeconfig" {
			want = doctor.Fail
		}
		if f.State != want {
			t.Errorf("%s: %+v, want %s", check.Name, f, want)
		}
	})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestShellQuotesWhatItWouldTakeApart(t *testing.T) {
	for word, want := range map[string]string{
		"anna@example.org": "anna@example.org", "oidc:anna": "oidc:anna", "o'neil $(id)": `'o'\''neil $(id)'`,
	} {
		if got := shell(word); got != want {
			t.Errorf("shell(%q) = %s, want %s", word, got, want)
		}
	}
}
