package rbac

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/adapter/config"
)

// agentRole is the Role's name in the agent's namespace, where that is another one than the target's.
const agentRole = "podstep-agent"

// Subject is who gets the Roles. Exactly one field is set, or none: then nobody does.
type Subject struct {
	User, Group string
	// ServiceAccount is NAME, of the target's namespace, or NAMESPACE:NAME.
	ServiceAccount string
}

// Role is a Role and, with a subject, its binding.
type Role struct {
	Role rbacv1.Role
	// Whys has the reasons of each of the Role's rules.
	Whys [][]string
	// Binding gives the Role to the subject; nil without one.
	Binding *rbacv1.RoleBinding
}

// Roles makes the Roles that hold exactly the grants: one in each namespace.
func Roles(o Options, to Subject) []Role {
	var roles []Role
	for _, g := range Grants(o) {
		i := slices.IndexFunc(roles, func(r Role) bool { return r.Role.Namespace == g.Namespace })
		if i < 0 {
			// The kind is part of the name: applying the Role for another kind does not take from those who have the first.
			name := "podstep-" + cmp.Or(o.Agent, config.AgentEphemeral)
			if o.Admin {
				name += "-admin"
			}
			if g.Namespace != o.Namespace {
				name = agentRole
			}
			i, roles = len(roles), append(roles, newRole(name, g.Namespace, o.Namespace, to))
		}
		roles[i].add(g)
	}
	return roles
}

func newRole(name, namespace, target string, to Subject) Role {
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace}
	r := Role{Role: rbacv1.Role{TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"}, ObjectMeta: meta}}
	subject, label := to.subject(target)
	if label == "" {
		return r
	}
	// The subject is part of the name: applying the Role for another one does not take it from the first.
	meta.Name += ":" + label
	r.Binding = &rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
		ObjectMeta: meta,
		Subjects:   []rbacv1.Subject{subject},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
	}
	return r
}

// subject returns the subject and its part of a binding's name, which is empty for nobody.
func (s Subject) subject(namespace string) (rbacv1.Subject, string) {
	// The names of RBAC objects may have everything but these two (path segment names).
	plain := strings.NewReplacer("/", "_", "%", "_")
	switch {
	case s.User != "":
		return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: s.User}, "user:" + plain.Replace(s.User)
	case s.Group != "":
		return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: s.Group}, "group:" + plain.Replace(s.Group)
	case s.ServiceAccount != "":
		name := s.ServiceAccount
		if before, after, found := strings.Cut(name, ":"); found {
			namespace, name = before, after
		}
		return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}, fmt.Sprintf("serviceaccount:%s:%s", namespace, name)
	}
	return rbacv1.Subject{}, ""
}

// add adds a rule, or a reason to the rule that holds the same already.
func (r *Role) add(g Grant) {
	rule := rbacv1.PolicyRule{APIGroups: []string{g.Group}, Resources: []string{g.Resource}, Verbs: g.Verbs}
	if g.OwnNamespace {
		rule.ResourceNames = []string{g.Namespace}
	}
	for i, have := range r.Role.Rules {
		covered := !slices.ContainsFunc(g.Verbs, func(verb string) bool { return !slices.Contains(have.Verbs, verb) })
		if covered && have.APIGroups[0] == g.Group && have.Resources[0] == g.Resource && (have.ResourceNames == nil) == !g.OwnNamespace {
			if !slices.Contains(r.Whys[i], g.Why) {
				r.Whys[i] = append(r.Whys[i], g.Why)
			}
			return
		}
	}
	r.Role.Rules = append(r.Role.Rules, rule)
	r.Whys = append(r.Whys, []string{g.Why})
}
