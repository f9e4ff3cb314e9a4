package main

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/doctor"
)

// says makes a check that finds f.
func says(group, name string, f doctor.Finding) doctor.Check {
	return doctor.Check{Group: group, Name: name, Run: func(context.Context) doctor.Finding { return f }}
}

func TestDoctorPrintsChecksAndWhatToAskFor(t *testing.T) {
	c := newCall(0, nil)
	c.output = "text"
	away := doctor.Finding{State: doctor.Skip, Found: "the cluster is not reached"}
	lines := c.examine(t.Context(), []doctor.Check{
		says("workstation", "kernel", doctor.Finding{State: doctor.OK, Found: "Linux 6.1"}),
		says("cluster", "permissions", doctor.Finding{State: doctor.Fail, Found: "may not list pods", Do: "Ask.\nOr do not.", Ask: "the Role"}),
		says("cluster", "agent", doctor.Finding{State: doctor.Warn, Found: "refused", Ask: "the Role"}),
		says("cluster", "image", away),
		says("cluster", "link", away),
	})
	if err := printHandOff(c.out, handOff(lines)); err != nil {
		t.Fatal(err)
	}
	want := `workstation
    ok  kernel: Linux 6.1
cluster
  fail  permissions: may not list pods
        -> Ask.
        -> Or do not.
  warn  agent: refused
  skip  image: the cluster is not reached

For the cluster's administrator: to debug with podstep I need
- the Role
What each permission is for, and what the agent can and cannot do: docs/security.md
`
	if diff := cmp.Diff(want, c.stdout.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}

func TestDoctorRefusesWhatCannotBeMeasured(t *testing.T) {
	for args, want := range map[string]string{
		"--target process/1":          "only a target in a cluster",
		"--target targetless":         "only a target in a cluster",
		"--target deploymnt/web":      "did you mean",
		"-n Shop":                     "namespace",
		"--agent sidecar":             "none of auto, ephemeral, job",
		"--agent job -n a_b":          "namespace",
		"-o yaml":                     "neither text nor json",
		"--agent-namespace -x":        "namespace",
		"now":                         "unknown command",
		"-n shop --target deployment": "has no name",
	} {
		t.Run(args, func(t *testing.T) {
			c := newCall(0, nil)
			if status := c.execute(t.Context(), append([]string{"doctor"}, strings.Fields(args)...)); status != statusUsage && status != statusFault {
				t.Fatalf("status %d, want a fault; printed %s", status, c.stdout.String())
			}
			if !strings.Contains(c.stderr.String(), want) {
				t.Errorf("said %q, want it to have %q", c.stderr.String(), want)
			}
		})
	}
}
