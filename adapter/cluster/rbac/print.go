package rbac

import (
	"encoding/json"
	"fmt"
	"strings"
)

// YAML is the roles as `kubectl apply -f -` takes them, each rule below its reasons.
func YAML(roles []Role) []byte {
	var b strings.Builder
	b.WriteString("# What podstep needs, each rule with its reason. API discovery and SelfSubjectAccessReview are not listed:\n# every authenticated user has them.\n")
	for i, r := range roles {
		if i > 0 {
			b.WriteString("---\n")
		}
		r.yaml(&b)
	}
	return []byte(b.String())
}

func (r Role) yaml(b *strings.Builder) {
	header(b, r.Role.APIVersion, r.Role.Kind, r.Role.Name, r.Role.Namespace)
	b.WriteString("rules:\n")
	for i, rule := range r.Role.Rules {
		for _, why := range r.Whys[i] {
			fmt.Fprintf(b, "  # %s\n", why)
		}
		fmt.Fprintf(b, "  - apiGroups: %s\n    resources: %s\n", flow(rule.APIGroups), flow(rule.Resources))
		if len(rule.ResourceNames) > 0 {
			fmt.Fprintf(b, "    resourceNames: %s\n", flow(rule.ResourceNames))
		}
		fmt.Fprintf(b, "    verbs: %s\n", flow(rule.Verbs))
	}
	if r.Binding == nil {
		return
	}
	b.WriteString("---\n")
	header(b, r.Binding.APIVersion, r.Binding.Kind, r.Binding.Name, r.Binding.Namespace)
	b.WriteString("subjects:\n")
	for _, s := range r.Binding.Subjects {
		fmt.Fprintf(b, "  - kind: %s\n    name: %s\n", s.Kind, quoted(s.Name))
		if s.APIGroup != "" {
			fmt.Fprintf(b, "    apiGroup: %s\n", s.APIGroup)
		}
		if s.Namespace != "" {
			fmt.Fprintf(b, "    namespace: %s\n", quoted(s.Namespace))
		}
	}
	ref := r.Binding.RoleRef
	fmt.Fprintf(b, "roleRef:\n  apiGroup: %s\n  kind: %s\n  name: %s\n", ref.APIGroup, ref.Kind, quoted(ref.Name))
}

func header(b *strings.Builder, version, kind, name, namespace string) {
	fmt.Fprintf(b, "apiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n  namespace: %s\n", version, kind, quoted(name), quoted(namespace))
}

// quoted is s as a YAML string, whatever is in it: YAML takes JSON's strings.
func quoted(s string) string {
	text, _ := json.Marshal(s) // a string always can be
	return string(text)
}

func flow(words []string) string {
	quotedWords := make([]string, len(words))
	for i, w := range words {
		quotedWords[i] = quoted(w)
	}
	return "[" + strings.Join(quotedWords, ", ") + "]"
}

// JSON is the roles as one list that `kubectl apply -f -` takes.
func JSON(roles []Role) ([]byte, error) {
	var items []any
	for _, r := range roles {
		items = append(items, r.Role)
		if r.Binding != nil {
			items = append(items, r.Binding)
		}
	}
	text, err := json.MarshalIndent(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Items      []any  `json:"items"`
	}{"v1", "List", items}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the Role: %w", err)
	}
	return append(text, '\n'), nil
}

// Markdown is the table as docs/security.md has it.
func Markdown() []byte {
	var b strings.Builder
	b.WriteString("| resource | verbs | for | where | why |\n|---|---|---|---|---|\n")
	for _, p := range Table() {
		resource := p.Resource
		if p.Group != "" {
			resource += "." + p.Group
		}
		where := "target's namespace"
		if p.InAgentNamespace {
			where = "agent's namespace"
		}
		if p.OwnNamespace {
			where += ", its own name only"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", resource, strings.Join(p.Verbs, ", "), p.Feature, where, p.Why)
	}
	return []byte(b.String())
}
