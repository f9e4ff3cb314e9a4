//go:build linux

// Package e2e tests whole sessions in a real cluster: the real programs as an ordinary user starts them, real debuggers, pods
// on two nodes, and customers in other pods who ask all the time. "make e2e" starts a cluster for it. On any other cluster:
//
//	KUBECONFIG=... PODSTEP_E2E_LOAD="kind load image-archive" go test ./test/e2e/...
//
// PODSTEP_E2E_LOAD is a command that loads an OCI archive, its last argument, into every node; it is called for the agent's
// image and for the tests' own. PODSTEP_E2E_FAULT, if set, is the beginning of a command that disturbs the cluster. PODSTEP_E2E_REQUESTS
// is how many requests come to a port that sessions share by filters. Whoever runs the tests needs a cluster-admin's
// kubeconfig: they make namespaces, and privileged pods that look at what is left.
//
// A test makes a stage, a namespace of its own:
//
//	func TestSomethingHolds(t *testing.T) {
//		t.Parallel()                                  // unless it measures time
//		s := newStage(t)                              // namespace, stock, a desk with an ordinary user
//		s.deploy(shop{replicas: 2, spread: true})     // the shop, answering as "target", and waits until it is ready
//		s.service("shop", "shop")
//		c := s.customer("http://shop")                // a pod that asks; its book says who answered what, and when
//		d := s.Start("go")                            // podstep dap with an editor
//		d.Launch(s.ctx, s.dlv(s.mirror("deployment/shop")), nil)
//		s.await(c, "the debuggee answers", time.Now(), visit.By("debuggee"))
//		...
//		s.cleared()                                   // no process, rule, container, pod, Job or Secret is left
//	}
//
// s.mirror has linger 0, so that cleared can be asked at once. s.run is podstep run. What a failed test leaves to read, s.explain
// prints: pods, their ephemeral containers with their logs, events. What was started is gone with the test, however it ends.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// everything is the cluster with what all tests share, nil without one. TestMain has no other way to hand it over.
var everything *fixture

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	load := os.Getenv("PODSTEP_E2E_LOAD")
	if os.Getenv("KUBECONFIG") == "" || load == "" {
		return m.Run() // every test skips, and says why
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	f := &fixture{watchers: map[string]string{}}
	defer f.close()
	if err := f.open(ctx, load); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	everything = f
	return m.Run()
}

// root is the module's directory.
func root() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err) // the test runner starts every package in its own directory
	}
	return filepath.Join(dir, "../..")
}
