//go:build linux

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/internal/testkit/visit"
)

// TestStageHasAShopOnTwoNodes holds the other tests' ground: without a session the target answers, from both nodes, and
// nothing is found left over.
func TestStageHasAShopOnTwoNodes(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pods := s.deploy(shop{replicas: 2, spread: true})
	if pods[0].Spec.NodeName == pods[1].Spec.NodeName {
		t.Errorf("both pods are on %s", pods[0].Spec.NodeName)
	}
	s.service("shop", "shop")
	c := s.customer("http://shop")
	for _, pod := range pods {
		r := s.await(c, "an answer of "+pod.Name, time.Time{}, func(r visit.Request) bool { return r.Host == pod.Name })
		if r.By != "target" || r.Price == 0 || !strings.HasPrefix(r.Seen, c.address()+":") {
			t.Errorf("%s answers %+v to %s", pod.Name, r, c.address())
		}
	}
	s.cleared()
}

// TestLeftoversAreSeen holds the check for leftovers: it is no good if it never finds any.
func TestLeftoversAreSeen(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pod := &s.deploy(shop{})[0]
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: "podstep-test", Image: testImage, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/visitor", "wait"},
	}}}
	if _, err := s.client.CoreV1().Pods(s.ns).UpdateEphemeralContainers(s.ctx, pod.Name, pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "podstep-test"}}
	if _, err := s.client.CoreV1().Secrets(s.ns).Create(s.ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	waiting := s.Program(s.visitor(), "wait")
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = waiting.Process.Kill(), waiting.Wait() })
	for _, want := range []string{"container podstep-test runs", "Secret podstep-test", s.visitor()} {
		s.eventually("a leftover is seen: "+want, func() bool { return strings.Contains(s.leftover(), want) })
	}
	seen, err := s.look(s.ctx, pod)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"shop", "visitor"} {
		if !slices.ContainsFunc(seen.Processes, func(p process) bool { return p.Name == want }) {
			t.Errorf("no process %s is seen in the pod: %+v", want, seen)
		}
	}
}
