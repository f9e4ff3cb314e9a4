package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/internal/wire"
)

func TestTargetsAreATable(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	anna := wire.Session{
		Holder: wire.Holder{Name: "anna@laptop", Since: now.Add(-90 * time.Minute)}, Subscriptions: []wire.SubscribeParams{{Port: 80, Mode: wire.ModeSteal}, {Port: 81, Mode: wire.ModeMirror}},
		Paused: true, PausedSince: now.Add(-3 * time.Minute),
	}
	web := workload.Listed{Namespace: "shop", Target: "deployment/web", Ready: 2, Pods: 2, Status: "ready", Containers: []string{"app", "istio-proxy"}, Ports: []int32{80, 81}}
	db := workload.Listed{Namespace: "shop", Target: "statefulset/db", Pods: 1, Status: "CrashLoopBackOff", Containers: []string{"db"}}
	borrowed, limited := web, db
	borrowed.Borrowed = []workload.Borrower{{Pod: "web-0", Session: anna}, {Pod: "web-1", Session: anna}, {Pod: "web-2", Unknown: "it does not answer"}}
	limited.Steal = workload.StealDeny
	shared := web
	for _, pod := range []string{"web-0", "web-1"} {
		for i, f := range []string{`{"header": {"x-user": "bob"}}`, `{"path": "/a-path-that-goes-on-and-on-and-on-and-on"}`, `{"unheard": "of"}`} {
			name := []string{"bob", "eve", "new"}[i]
			shared.Borrowed = append(shared.Borrowed, workload.Borrower{Pod: pod, Session: wire.Session{
				// The pods' agents heard of the session one after the other.
				Holder:        wire.Holder{Name: name + "@laptop", Session: name, Since: now.Add(-time.Duration(i+5) * time.Second).Add(time.Duration(len(shared.Borrowed)/3) * time.Second)},
				Subscriptions: []wire.SubscribeParams{{Port: 80, Mode: wire.ModeSteal, Filter: []byte(f)}},
			}})
		}
	}
	for name, test := range map[string]struct {
		list         workload.List
		all          bool
		table, words string
	}{
		"plain": {workload.List{Targets: []workload.Listed{web, db}}, false, `
TARGET           READY   STATUS             CONTAINERS        PORTS
deployment/web   2/2     ready              app,istio-proxy   80,81
statefulset/db   0/1     CrashLoopBackOff   db                -
`, ""},
		"all namespaces": {workload.List{Targets: []workload.Listed{web}}, true, `
NAMESPACE   TARGET           READY   STATUS   CONTAINERS        PORTS
shop        deployment/web   2/2     ready    app,istio-proxy   80,81
`, ""},
		"borrowed and limited": {workload.List{Targets: []workload.Listed{borrowed, limited}}, false, `
TARGET           READY   STATUS             CONTAINERS        PORTS   STEAL   BORROWED BY
deployment/web   2/2     ready              app,istio-proxy   80,81   -       anna@laptop steals 80 mirrors 81 for 1h, paused for 3m
                                                                              unknown (it does not answer)
statefulset/db   0/1     CrashLoopBackOff   db                -       deny    -
`, "podstep: to ask for what is stolen: podstep ask -n shop deployment/web\n"},
		"shared by filters": {workload.List{Targets: []workload.Listed{shared}}, false, `
TARGET           READY   STATUS   CONTAINERS        PORTS   BORROWED BY
deployment/web   2/2     ready    app,istio-proxy   80,81   bob@laptop steals 80 (header x-user = "bob") for 5s
                                                            eve@laptop steals 80 (path = "/a-path-that-goes-on-and-on-and…) for 6s
                                                            new@laptop steals 80 (filtered) for 7s
`, "podstep: to ask for what is stolen: podstep ask -n shop deployment/web\n"},
		"missing": {workload.List{Missing: []string{"jobs: may not list jobs.batch"}}, false, "\n", "podstep: not listed: jobs: may not list jobs.batch\npodstep: there is nothing to borrow here\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCall(0, nil)
			if err := c.printTargets(&test.list, test.all, now); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.table, "\n"+c.stdout.String()); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
			if got := c.stderr.String(); got != test.words {
				t.Errorf("words %q, want %q", got, test.words)
			}
		})
	}
}

func TestTargetsRefusesWhatMakesNoSense(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBECONFIG", "")
	for args, want := range map[string]struct {
		status int
		words  string
	}{
		"targets -n Shop":                {statusUsage, "no name of a namespace"},
		"targets -n shop -A":             {statusUsage, "namespace all-namespaces"},
		"targets shop":                   {statusUsage, "unknown command"},
		"targets --kubeconfig /none":     {statusFault, "there is no kubeconfig /none [podstep-2005]"},
		"targets -o json":                {statusFault, `"id": 2005`},
		"targets --context x -n default": {statusFault, "[podstep-2005]"},
	} {
		c := newCall(0, nil)
		if status := c.execute(t.Context(), strings.Fields(args)); status != want.status || !strings.Contains(c.stderr.String(), want.words) || c.stdout.Len() > 0 {
			t.Errorf("%s: status %d, %q, %q; want %d and %q", args, status, c.stdout.String(), c.stderr.String(), want.status, want.words)
		}
	}
}
