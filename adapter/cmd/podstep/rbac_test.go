package main

import (
	"strings"
	"testing"
)

func TestRBACPrintsTheRoleThatIsAskedFor(t *testing.T) {
	tests := map[string]struct{ has, lacks []string }{
		"-n shop": {
			[]string{"kind: Role\n", `name: "podstep-ephemeral"`, `"pods/ephemeralcontainers"`}, []string{"RoleBinding", `"delete"`, "ClusterRole", "podstep.dev/revoked"},
		},
		"-n shop --user anna": {
			[]string{"kind: RoleBinding", `name: "podstep-ephemeral:user:anna"`, "kind: User"}, nil,
		},
		"-n shop --agent job --agent-namespace tools --serviceaccount build:ci": {
			[]string{`namespace: "tools"`, `namespace: "build"`, `"delete"`, `name: "podstep-agent"`}, []string{`"pods/ephemeralcontainers"`},
		},
		"-n shop --admin": {
			[]string{`name: "podstep-ephemeral-admin"`, "resources: [\"pods\"]\n    verbs: [\"patch\"]\n", "podstep.dev/revoked"}, []string{`"delete"`},
		},
		"-n shop -o json --group devs": {
			[]string{`"kind": "List"`, `"kind": "Group"`}, []string{"# "},
		},
	}
	for args, tt := range tests {
		t.Run(args, func(t *testing.T) {
			c := newCall(0, nil)
			if status := c.execute(t.Context(), append([]string{"rbac"}, strings.Fields(args)...)); status != 0 {
				t.Fatalf("status %d: %s", status, c.stderr.String())
			}
			for _, part := range tt.has {
				if !strings.Contains(c.stdout.String(), part) {
					t.Errorf("it lacks %q:\n%s", part, c.stdout.String())
				}
			}
			for _, part := range tt.lacks {
				if strings.Contains(c.stdout.String(), part) {
					t.Errorf("it has %q:\n%s", part, c.stdout.String())
				}
			}
		})
	}
}

func TestRBACRefusesWhatMakesNoRole(t *testing.T) {
	for args, want := range map[string]string{
		"":                                 "no namespace is given",
		"-n Shop":                          "name of a namespace",
		"-n shop --agent sidecar":          "none of ephemeral, job, auto",
		"-n shop --agent-namespace tools":  "for --agent job",
		"-n shop -o text":                  "neither yaml nor json",
		"-n shop --user anna --group devs": "user group",
		"-n shop --agent job --agent-namespace x:y": "name of a namespace",
	} {
		t.Run(args, func(t *testing.T) {
			c := newCall(0, nil)
			if status := c.execute(t.Context(), append([]string{"rbac"}, strings.Fields(args)...)); status != statusUsage {
				t.Fatalf("status %d, want %d", status, statusUsage)
			}
			if !strings.Contains(c.stderr.String(), want) || c.stdout.Len() > 0 {
				t.Errorf("said %q and printed %q, want a fault with %q", c.stderr.String(), c.stdout.String(), want)
			}
		})
	}
}
