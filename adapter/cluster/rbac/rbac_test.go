package rbac_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"podstep.dev/adapter/cluster/rbac"
	"podstep.dev/adapter/config"
)

func TestTableGivesEveryReasonAsASentence(t *testing.T) {
	for _, p := range rbac.Table() {
		if !strings.HasSuffix(p.Why, ".") || strings.Contains(p.Why, "\n") || strings.Contains(p.Why, "|") {
			t.Errorf("%s: the reason %q is no sentence that fits into a comment and a table", p.Resource, p.Why)
		}
		if len(p.Verbs) == 0 || slices.Contains(p.Verbs, "*") || strings.Contains(p.Resource, "*") {
			t.Errorf("%s %v: what is asked for must be named", p.Resource, p.Verbs)
		}
	}
}

func TestGrantsFollowTheKindOfAgent(t *testing.T) {
	tests := map[string]struct {
		opts rbac.Options
		want string // resources that are written, where
	}{
		"ephemeral by default": {rbac.Options{Namespace: "shop"}, "shop events, shop pods/ephemeralcontainers, shop pods/exec"},
		"ephemeral":            {rbac.Options{Namespace: "shop", Agent: config.AgentEphemeral}, "shop events, shop pods/ephemeralcontainers, shop pods/exec"},
		"job":                  {rbac.Options{Namespace: "shop", Agent: config.AgentJob}, "shop events, shop jobs, shop pods/exec"},
		"job elsewhere":        {rbac.Options{Namespace: "shop", Agent: config.AgentJob, AgentNamespace: "tools"}, "shop events, tools jobs, tools pods/exec"},
		"both":                 {rbac.Options{Namespace: "shop", Agent: config.AgentAuto, AgentNamespace: "tools"}, "shop events, shop pods/ephemeralcontainers, shop pods/exec, tools jobs, tools pods/exec"},
		"one feature":          {rbac.Options{Namespace: "shop", Only: []rbac.Feature{rbac.Workloads}}, ""},
		"an administrator":     {rbac.Options{Namespace: "shop", Admin: true}, "shop events, shop pods/ephemeralcontainers, shop pods/exec, shop pods"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, g := range rbac.Grants(tt.opts) {
				if slices.ContainsFunc(g.Verbs, func(verb string) bool { return verb == "create" || verb == "patch" || verb == "delete" }) {
					got = append(got, g.Namespace+" "+g.Resource)
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("Grants(%+v) (-want +got):\n%s", tt.opts, diff)
			}
		})
	}
}

// printed are the cases of the two printers.
func printed() map[string][]rbac.Role {
	elsewhere := rbac.Options{Namespace: "shop", Agent: config.AgentAuto, AgentNamespace: "tools"}
	return map[string][]rbac.Role{
		"nobody":          rbac.Roles(rbac.Options{Namespace: "shop"}, rbac.Subject{}),
		"odd user":        rbac.Roles(rbac.Options{Namespace: "shop", Agent: config.AgentJob}, rbac.Subject{User: "o'idc/\"anna\": #1%\nkind: ClusterRole"}),
		"group":           rbac.Roles(elsewhere, rbac.Subject{Group: "developers"}),
		"service account": rbac.Roles(elsewhere, rbac.Subject{ServiceAccount: "ci"}),
		"foreign account": rbac.Roles(elsewhere, rbac.Subject{ServiceAccount: "build:ci"}),
	}
}

func TestYAMLIsTheRoles(t *testing.T) {
	for name, roles := range printed() {
		t.Run(name, func(t *testing.T) {
			text := rbac.YAML(roles)
			documents := bytes.Split(text, []byte("\n---\n"))
			for _, r := range roles {
				var role rbacv1.Role
				documents = parse(t, documents, &role)
				if diff := cmp.Diff(r.Role, role); diff != "" {
					t.Errorf("the Role (-want +got):\n%s", diff)
				}
				for _, rule := range role.Rules {
					if !strings.HasPrefix(lineBefore(string(text), `  - apiGroups: ["`+rule.APIGroups[0]+`"]`), "  # ") {
						t.Errorf("the rule for %v has no reason above it", rule.Resources)
					}
				}
				if r.Binding == nil {
					continue
				}
				var binding rbacv1.RoleBinding
				documents = parse(t, documents, &binding)
				if diff := cmp.Diff(*r.Binding, binding); diff != "" {
					t.Errorf("the RoleBinding (-want +got):\n%s", diff)
				}
			}
			if len(documents) != 0 {
				t.Errorf("there are further documents: %s", documents)
			}
		})
	}
}

// parse reads the first document into v, strictly, and returns the rest.
func parse(t *testing.T, documents [][]byte, v any) [][]byte {
	t.Helper()
	if len(documents) == 0 {
		t.Fatal("a document is missing")
	}
	if err := yaml.UnmarshalStrict(documents[0], v); err != nil {
		t.Fatalf("%v in\n%s", err, documents[0])
	}
	return documents[1:]
}

func lineBefore(text, line string) string {
	before, _, _ := strings.Cut(text, line)
	lines := strings.Split(strings.TrimSuffix(before, "\n"), "\n")
	return lines[len(lines)-1]
}

func TestJSONIsTheRoles(t *testing.T) {
	for name, roles := range printed() {
		t.Run(name, func(t *testing.T) {
			text, err := rbac.JSON(roles)
			if err != nil {
				t.Fatal(err)
			}
			var list struct {
				APIVersion, Kind string
				Items            []json.RawMessage
			}
			if err := json.Unmarshal(text, &list); err != nil {
				t.Fatal(err)
			}
			var want []json.RawMessage
			for _, r := range roles {
				want = append(want, encode(t, r.Role))
				if r.Binding != nil {
					want = append(want, encode(t, r.Binding))
				}
			}
			for i := range list.Items {
				var b bytes.Buffer
				if err := json.Compact(&b, list.Items[i]); err != nil {
					t.Fatal(err)
				}
				list.Items[i] = b.Bytes()
			}
			if diff := cmp.Diff(want, list.Items); diff != "" || list.Kind != "List" || list.APIVersion != "v1" {
				t.Errorf("%s %s (-want +got):\n%s", list.APIVersion, list.Kind, diff)
			}
		})
	}
}

func encode(t *testing.T, v any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCheckNamesEachMissingVerb(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		a := review.Spec.ResourceAttributes
		denied := a.Resource == "pods" && a.Subresource == "exec" && a.Verb == "create" || a.Resource == "rollouts" ||
			a.Resource == "namespaces" && a.Name != "shop"
		answer := review.DeepCopy()
		answer.Status.Allowed = !denied
		return true, answer, nil
	})
	missing, err := rbac.Check(t.Context(), client.AuthorizationV1(), rbac.Grants(rbac.Options{Namespace: "shop"}))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range missing {
		got = append(got, m.String())
	}
	want := []string{`get rollouts.argoproj.io in "shop"`, `list rollouts.argoproj.io in "shop"`, `watch rollouts.argoproj.io in "shop"`, `create pods/exec in "shop"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Check (-want +got):\n%s", diff)
	}
}

func TestCheckReportsWhatItCouldNotAsk(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "selfsubjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, context.DeadlineExceeded
	})
	if missing, err := rbac.Check(t.Context(), client.AuthorizationV1(), rbac.Grants(rbac.Options{Namespace: "shop"})); err == nil {
		t.Errorf("Check = %v, want an error", missing)
	}
}
