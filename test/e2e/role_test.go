//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// account is the service account that tests log in as.
const account = "developer"

// becomeDeveloper makes the person an account with exactly the Role that podstep rbac prints with those arguments, and returns
// the account's token.
func (s *stage) becomeDeveloper(args ...string) (token string) {
	s.t.Helper()
	token = s.becomeNobody()
	s.grant(s.printedRole(args...), nil)
	return token
}

// becomeNobody makes the person an account that may do nothing.
func (s *stage) becomeNobody() (token string) {
	s.t.Helper()
	made := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}
	if _, err := s.client.CoreV1().ServiceAccounts(s.ns).Create(s.ctx, made, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	lasting := int64(3600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lasting}}
	answer, err := s.client.CoreV1().ServiceAccounts(s.ns).CreateToken(s.ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.login(func(user *clientcmdapi.AuthInfo) { user.Token = answer.Status.Token })
	return answer.Status.Token
}

// printedRole is the one Role that podstep rbac prints.
func (s *stage) printedRole(args ...string) rbacv1.Role {
	s.t.Helper()
	out, err := s.Command(append([]string{"rbac", "-n", s.ns, "-o", "json"}, args...)...).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	var list struct{ Items []rbacv1.Role }
	if err := json.Unmarshal(out, &list); err != nil || len(list.Items) != 1 {
		s.t.Fatalf("%v in %s", err, out)
	}
	return list.Items[0]
}

// permission is one verb of a rule.
type permission struct{ group, resource, verb string }

func (p permission) String() string {
	if p.group == "" {
		return p.verb + " " + p.resource
	}
	return p.verb + " " + p.resource + "." + p.group
}

// grant gives the account a Role, less one permission if that is not nil, and waits until that is so.
func (s *stage) grant(role rbacv1.Role, less *permission) {
	s.t.Helper()
	role = *role.DeepCopy()
	if less != nil {
		for i, rule := range role.Rules {
			if slices.Contains(rule.APIGroups, less.group) && slices.Contains(rule.Resources, less.resource) {
				role.Rules[i].Verbs = slices.DeleteFunc(rule.Verbs, func(verb string) bool { return verb == less.verb })
			}
		}
		role.Rules = slices.DeleteFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return len(rule.Verbs) == 0 })
	}
	roles, bindings := s.client.RbacV1().Roles(s.ns), s.client.RbacV1().RoleBindings(s.ns)
	// An update makes what is not there.
	if _, err := roles.Update(s.ctx, &role, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.ns, Name: account}},
	}
	if _, err := bindings.Update(s.ctx, binding, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	for _, p := range permissions(s.printed(role)) {
		s.eventually(fmt.Sprintf("the account may %s", p), func() bool { return s.may(p) })
	}
	if less != nil {
		s.eventually(fmt.Sprintf("the account may not %s", less), func() bool { return !s.may(*less) })
	}
}

// printed is a Role without its rule for the namespace, which needs a name to be asked for.
func (s *stage) printed(role rbacv1.Role) rbacv1.Role {
	role.Rules = slices.DeleteFunc(slices.Clone(role.Rules), func(r rbacv1.PolicyRule) bool { return len(r.ResourceNames) > 0 })
	return role
}

// permissions are a Role's, one verb each.
func permissions(role rbacv1.Role) (all []permission) {
	for _, rule := range role.Rules {
		for _, verb := range rule.Verbs {
			all = append(all, permission{rule.APIGroups[0], rule.Resources[0], verb})
		}
	}
	return all
}

// may asks for the account.
func (s *stage) may(p permission) bool {
	s.t.Helper()
	resource, subresource, _ := strings.Cut(p.resource, "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               fmt.Sprintf("system:serviceaccount:%s:%s", s.ns, account),
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: s.ns, Verb: p.verb, Group: p.group, Resource: resource, Subresource: subresource},
	}}
	answer, err := s.client.AuthorizationV1().SubjectAccessReviews().Create(s.ctx, review, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.Status.Allowed
}

// TestPrintedRoleIsNeededInWhole : with exactly the printed Role sessions work, and each permission that is taken from it is
// missed: by a fault that names it, or where it says so here.
func TestPrintedRoleIsNeededInWhole(t *testing.T) {
	// Those that a short session may do without, and why they are in the Role.
	spared := map[string]string{
		"get pods":               "a session that reconnects looks at its pod again",
		"create events":          "the session goes on, and its log says that there is no Event",
		"get pods/exec":          "the link goes over SPDY instead of WebSocket",
		"watch events":           "without it nothing explains why the agent's pod is not made",
		"watch deployments.apps": "it is missed a moment after the session has begun",
	}
	// A session may not come to use a permission: a job is removed only when its end is seen in time, else it goes by itself, and
	// the agent of the session before may still be there.
	const tries = 10
	for _, kind := range []string{"ephemeral", "job"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.deploy(shop{})
			role := s.printedRole("--agent", kind)
			s.becomeNobody()
			s.grant(role, nil)
			session := func() error {
				_, err := s.run(s.mirror("deployment/shop", linger(kind, 0)), "true")
				return err
			}
			if err := session(); err != nil {
				t.Fatalf("with the printed Role: %v", err)
			}
			for _, p := range permissions(s.printed(role)) {
				if strings.Contains("statefulsets daemonsets replicasets jobs cronjobs services rollouts", p.resource) && (p.verb == "get" || p.verb == "list" || p.verb == "watch") {
					continue // of other targets than this one
				}
				s.grant(role, &p)
				err := session()
				_, without := spared[p.String()]
				for n := 1; err == nil && !without && n < tries; n++ {
					err = session()
				}
				named := err != nil && strings.Contains(err.Error(), "podstep-2006") && strings.Contains(err.Error(), p.verb) && strings.Contains(err.Error(), p.resource)
				switch {
				case err == nil && !without:
					t.Errorf("nothing misses %s", p)
				case err != nil && !named:
					t.Errorf("without %s: the fault does not name it: %v", p, err)
				}
			}
			s.cleared()
		})
	}
}

// TestDoctorWritesWhatToAskFor : somebody who may do nothing is told what to ask for, and after that nothing fails.
func TestDoctorWritesWhatToAskFor(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{})
	s.becomeNobody()
	checks, asks, status := s.doctor("--target", "deployment/shop")
	ask := fmt.Sprintf("podstep rbac -n %s --serviceaccount %s:%s | kubectl apply -f -", s.ns, s.ns, account)
	if status != 1 || !slices.ContainsFunc(asks, func(a string) bool { return strings.HasSuffix(a, ask) }) {
		t.Errorf("exit status %d, asks for %q, want %q; %v", status, asks, ask, checks)
	}
	s.grant(s.printedRole(), nil)
	if checks, asks, status = s.doctor("--target", "deployment/shop"); status != 0 || len(asks) > 0 {
		t.Errorf("with the Role: exit status %d, asks for %q; %v", status, asks, checks)
	}
	s.cleared()
}

// TestDoctorTellsThePodSecurityLevel : and what is still possible, as a session then finds it.
func TestDoctorTellsThePodSecurityLevel(t *testing.T) {
	for level, words := range map[string]string{"baseline": "baseline", "restricted": "restricted"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.deploy(shop{})
			s.patchNamespace(fmt.Sprintf(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":%q}}}`, level))
			s.eventually("the level is in force", func() bool {
				_, err := s.run(s.mirror("deployment/shop", linger("ephemeral", 0)), "true")
				return err != nil && strings.Contains(err.Error(), "podstep-3006") && strings.Contains(err.Error(), "violates PodSecurity")
			})
			checks, asks, status := s.doctor()
			if found := checks["pod security"]; !strings.Contains(found, "warn") || !strings.Contains(found, words) {
				t.Errorf("pod security: %s", found)
			}
			if status != 0 || len(asks) != 1 || !strings.Contains(asks[0], "--agent job --agent-namespace podstep") {
				t.Errorf("exit status %d, asks for %q", status, asks)
			}
		})
	}
}

// doctor runs podstep doctor and returns its checks by name, what it asks for, and its exit status.
func (s *stage) doctor(args ...string) (checks map[string]string, asks []string, status int) {
	s.t.Helper()
	out, err := s.Command(append([]string{"doctor", "-o", "json"}, args...)...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	}
	var report struct {
		Checks  []struct{ Check, State, Found string }
		HandOff []string
	}
	if err := json.Unmarshal(out, &report); err != nil {
		s.t.Fatalf("%v in %s", err, out)
	}
	checks = map[string]string{}
	for _, c := range report.Checks {
		checks[c.Check] = c.State + ": " + c.Found
	}
	return checks, report.HandOff, status
}
