//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"podstep.dev/internal/testkit/visit"
)

// withSidecar adds a second container to the pods, which answers on port 8081.
func withSidecar(t *corev1.PodTemplateSpec) {
	t.Spec.Containers = append(t.Spec.Containers, shop{command: []string{"/visitor", "serve", "8081", "sidecar"}, port: 8081}.container("sidecar"))
}

// TestEveryKindOfTargetIsBorrowed steals the requests to each kind of workload that has pods, by its long name and without a
// container, and by its short name with one.
func TestEveryKindOfTargetIsBorrowed(t *testing.T) {
	kinds := []struct{ kind, short string }{
		{"pod", "po"}, {"deployment", "deploy"}, {"statefulset", "sts"}, {"daemonset", "ds"}, {"replicaset", "rs"},
		{"job", "job"}, {"cronjob", "cj"}, {"service", "svc"}, {"rollout", "rollout"},
	}
	for _, k := range kinds {
		t.Run(k.kind, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.startAny(k.kind)
			s.service("shop-in-front", "shop")
			c := s.customer("http://shop-in-front")
			for _, target := range []string{k.kind + "/shop", k.short + "/shop/container/shop"} {
				began := time.Now()
				d := s.launched(s.mirror(target))
				r := s.await(c, "the debuggee answers for "+target, began, visit.By("debuggee"))
				t.Logf("%s: F5 to the first stolen request in %v", target, r.Ended().Sub(began).Round(time.Millisecond))
				over := time.Now()
				s.disconnect(d)
				s.await(c, "the target answers again", over, visit.By("target"))
				s.cleared()
			}
		})
	}
}

// startAny starts the shop as a workload of any kind, with a sidecar beside it.
func (s *stage) startAny(kind string) {
	s.t.Helper()
	o := shop{change: withSidecar}
	switch kind {
	case "service":
		s.deploy(o)
		s.service("shop", "shop")
	case "cronjob":
		made := s.create(s.workload(kind, o))
		s.startJobOf(made)
		s.ready("shop", 1)
	case "rollout":
		s.defineRollouts()
		rollout := s.create(s.rollout("shop"))
		s.ownedReplicaSet(rollout, o)
		s.ready("shop", 1)
	default:
		s.start(kind, o)
	}
}

// startJobOf makes a Job of a CronJob, as "kubectl create job --from" does.
func (s *stage) startJobOf(cronJob *unstructured.Unstructured) {
	s.t.Helper()
	job := s.workload("job", shop{change: withSidecar}).(*batchv1.Job)
	job.Name += "-by-hand"
	job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(cronJob, cronJob.GroupVersionKind())}
	s.create(job)
}

// TestOnePodOfSeveralIsBorrowed : with "pods": "one" a single one of the pods gives its requests away.
func TestOnePodOfSeveralIsBorrowed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pods := s.deploy(shop{replicas: 2, spread: true})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	d := s.launched(s.mirror("deployment/shop", map[string]any{"pods": "one"}))
	r := s.await(c, "the debuggee answers", time.Now(), visit.By("debuggee"))
	borrowed := slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.Name == r.Host })
	if borrowed < 0 {
		t.Fatalf("the debuggee's hostname is %q, no pod's", r.Host)
	}
	s.eventually("many answers", func() bool { return len(c.All(r.Began, func(visit.Request) bool { return true })) > 60 })
	for _, answer := range c.All(r.Began, visit.By("target")) {
		if answer.Host == pods[borrowed].Name {
			t.Errorf("the borrowed pod answered %+v", answer)
		}
	}
	if _, found := c.First(r.Began, visit.By("target")); !found {
		t.Error("the pod that is not borrowed answered nothing")
	}
	s.disconnect(d)
	s.cleared()
}

// TestSessionFollowsItsWorkload : a pod that is added during the session is borrowed too, and when all pods are replaced the
// session moves on to the others.
func TestSessionFollowsItsWorkload(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{spread: true})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	began := time.Now()
	d := s.launched(s.mirror("deployment/shop"))
	s.await(c, "the debuggee answers", began, visit.By("debuggee"))

	s.scale("shop", 2)
	pods := s.ready("shop", 2)
	s.bothStolen(c, pods[0].Name, pods[1].Name)
	for i := range pods {
		s.eventually(pods[i].Name+" has an agent", func() bool { return len(agents(s.fresh(&pods[i]))) == 1 })
	}

	began = time.Now()
	s.patch("Deployment", "shop", fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, began.Format(time.RFC3339)))
	s.eventually("all pods are others", func() bool {
		after := s.pods("shop")
		for _, pod := range after {
			if !isReady(&pod) || pod.Name == pods[0].Name || pod.Name == pods[1].Name {
				return false
			}
		}
		return len(after) == 2
	})
	after := s.pods("shop")
	s.bothStolen(c, after[0].Name, after[1].Name)
	failed := c.Failed(began)
	t.Logf("a restart of the rollout cost the pods' clients %d requests%s", len(failed), visit.Summary(failed))

	over := time.Now()
	s.disconnect(d)
	s.served(c, over)
	s.cleared()
}

// TestTargetlessSessionHasANamespace : without a target there are the names and the network of a namespace.
func TestTargetlessSessionHasANamespace(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.reachable("stock", 81)
	for range 2 {
		out, err := s.run(map[string]any{"target": "targetless", "agent": map[string]any{"linger": 0}, "incoming": map[string]any{"mode": "off"}}, s.visitor(), "get", "http://stock:81/price/1234")
		if err != nil || out != "400\n" {
			t.Errorf("the stock answers %q: %v", out, err)
		}
	}
	s.cleared()
}
