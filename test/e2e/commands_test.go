//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"podstep.dev/internal/testkit/visit"
)

// TestDoctorFindsNothingWrong : with a target it measures the link, and it leaves nothing.
func TestDoctorFindsNothingWrong(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{})
	cmd := s.Command("doctor", "--target", "deployment/shop", "-o", "json")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("podstep doctor: %v\n%s\n%s", err, out.String(), errs.String())
	}
	var report struct {
		Checks  []struct{ Group, Check, State, Found string }
		HandOff []string
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.HandOff) > 0 {
		t.Errorf("an administrator is to be asked for %q", report.HandOff)
	}
	for _, c := range report.Checks {
		t.Logf("%s: %s: %s: %s", c.Group, c.Check, c.State, c.Found)
	}
	if !slices.ContainsFunc(report.Checks, func(c struct{ Group, Check, State, Found string }) bool {
		return c.State == "ok" && strings.Contains(c.Check+c.Found, "round trip")
	}) {
		t.Error("no round trip was measured")
	}
	s.cleared()
}

// TestPrintedRoleIsAccepted applies what podstep rbac prints, as kubectl would.
func TestPrintedRoleIsAccepted(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	out, err := s.Command("rbac", "-n", s.ns, "--agent", "auto", "--serviceaccount", s.ns+":default").Output()
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for document := range strings.SplitSeq(string(out), "\n---\n") {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		gvr := resources(object.GetKind())
		gvr.Group = "rbac.authorization.k8s.io"
		if _, err := s.dynamic.Resource(gvr).Namespace(object.GetNamespace()).Create(s.ctx, &object, metav1.CreateOptions{}); err != nil {
			t.Errorf("%v in:\n%s", err, document)
		}
		kinds = append(kinds, object.GetKind())
	}
	if !slices.Contains(kinds, "Role") || !slices.Contains(kinds, "RoleBinding") || slices.Contains(kinds, "ClusterRole") {
		t.Errorf("podstep rbac prints %v", kinds)
	}
}

// TestSessionsLeaveEvents : who borrowed a pod, what of it and until when is to be read on the pod.
func TestSessionsLeaveEvents(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pod := s.deploy(shop{})[0]
	s.service("shop", "shop")
	c := s.customer("http://shop")
	d := s.launched(s.mirror("deployment/shop"))
	s.await(c, "the debuggee answers", time.Now(), visit.By("debuggee"))
	s.disconnect(d)
	for _, reason := range []string{"PodstepBorrowed", "PodstepReturned"} {
		s.eventually("an event "+reason, func() bool {
			list, err := s.client.CoreV1().Events(s.ns).List(s.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod.Name})
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
				return e.Reason == reason && e.InvolvedObject.UID == pod.UID && strings.Contains(e.Message, "alice@") && strings.Contains(e.Message, "steal of port 80")
			})
		})
	}
	s.cleared()
}
