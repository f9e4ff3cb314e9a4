//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit/dapclient"
	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// said runs a podstep command and returns what it printed, on both streams, and its exit status.
func (s *stage) said(args ...string) (out string, status int) {
	text, err := s.Command(args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Errorf("podstep %q: %v", args, err)
	} else if err != nil {
		status = exit.ExitCode()
	}
	return string(text), status
}

// answer is what a command printed and its exit status.
type answer struct {
	out    string
	status int
}

// asks runs podstep ask in the background.
func (s *stage) asks(args ...string) <-chan answer {
	done := make(chan answer, 1)
	go func() {
		out, status := s.said(append([]string{"ask", "deployment/shop"}, args...)...)
		done <- answer{out, status}
	}()
	return done
}

// asked waits for the question that the editor is told of.
func (s *stage) asked(d *desk.Session) (q struct {
	ID            uint64
	Name, Message string
	Ports         []uint16
	Wait          int
}) {
	s.t.Helper()
	m, err := d.Event(s.ctx, "podstep/asked")
	if err == nil {
		err = m.Decode(&q)
	}
	if err != nil {
		s.t.Fatalf("%v\n%s", err, d.Outputs())
	}
	return q
}

// saidEvents are the messages of the pods' Events with a reason.
func (s *stage) saidEvents(reason string) (messages []string) {
	s.t.Helper()
	list, err := s.client.CoreV1().Events(s.ns).List(s.ctx, metav1.ListOptions{FieldSelector: "reason=" + reason})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range list.Items {
		messages = append(messages, e.Message)
	}
	return messages
}

// TestColleagueIsAskedForAPort : who is refused a port is told how to ask for it, the person who has it keeps it or gives it back and debugs
// on, and then the other one gets it.
func TestColleagueIsAskedForAPort(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	bob, carl := s.colleague("bob"), s.colleague("carl")
	d := s.launched(s.mirror("deployment/shop"))
	s.await(c, "alice's debuggee answers", time.Now(), visit.By("debuggee"))
	if text := bob.refused(); !strings.Contains(text, "podstep ask ") || !strings.Contains(text, "deployment/shop --port 80") {
		t.Errorf("bob is told %q, which does not say how to ask", text)
	}
	s.eventually("an Event says that bob was refused", func() bool {
		return strings.Contains(strings.Join(s.saidEvents("PodstepRefused"), "\n"), "bob@")
	})
	if borrowed := s.saidEvents("PodstepBorrowed"); len(borrowed) != 1 || !strings.Contains(borrowed[0], "alice@") {
		t.Errorf("borrowed, say the Events: %q", borrowed)
	}

	kept := bob.asks("--port", "80", "--message", "load test at 3")
	q := s.asked(d)
	if !strings.HasPrefix(q.Name, "bob@") || q.Message != "load test at 3" || fmt.Sprint(q.Ports) != "[80]" || q.Wait != 30 {
		t.Errorf("alice is asked %+v", q)
	}
	if _, err := d.Output(s.ctx, "asks you to release port 80 of deployment/shop (waiting 30 s): load test at 3"); err != nil {
		t.Error(err)
	}
	if _, err := d.Request(s.ctx, "podstep/keep", map[string]any{"id": q.ID}); err != nil {
		t.Fatal(err)
	}
	if a := <-kept; a.status != 3 || !strings.Contains(a.out, "alice@") || !strings.Contains(a.out, "keeps port 80 of deployment/shop") {
		t.Errorf("bob is told %q, exit status %d", a.out, a.status)
	}
	if out, status := bob.said("ask", "deployment/shop"); status != 1 || !strings.Contains(out, "podstep-6022") || !strings.Contains(out, "ask again in") {
		t.Errorf("bob, who asks again at once, is told %q, exit status %d", out, status)
	}
	s.await(c, "alice's debuggee answers on", time.Now(), visit.By("debuggee"))

	released := carl.asks()
	s.asked(d)
	gave := time.Now()
	if _, err := d.Request(s.ctx, "podstep/yield", map[string]any{"ports": []int{80}}); err != nil {
		t.Fatal(err)
	}
	if a := <-released; a.status != 0 || !strings.Contains(a.out, "released port 80 of deployment/shop") {
		t.Errorf("carl is told %q, exit status %d", a.out, a.status)
	}
	r := s.await(c, "the target answers", gave, visit.By("target"))
	t.Logf("the target served again %v after it was released", r.Ended().Sub(gave).Round(time.Millisecond))
	carls := carl.launched(carl.mirror("deployment/shop"))
	s.await(c, "carl's debuggee answers", time.Now(), visit.By("debuggee"))
	if _, err := d.Request(s.ctx, "threads", nil); err != nil {
		t.Errorf("alice's debugger does not go on: %v", err)
	}
	carl.disconnect(carls)
	over := time.Now()
	s.await(c, "the target answers again, and not alice", over, visit.By("target"))
	s.disconnect(d)
	bob.cleared()
	carl.cleared()
	s.cleared()
	s.served(c, over)
}

// TestAdministratorRevokes : with the Role for administrators a steal is ended against the thief's will, with that of developers it is not.
func TestAdministratorRevokes(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pods := s.deploy(shop{replicas: 2})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	bob := s.colleague("bob")
	token := bob.becomeDeveloper()
	d := s.launched(s.mirror("deployment/shop"))
	s.await(c, "alice's debuggee answers", time.Now(), visit.By("debuggee"))

	if out, status := bob.said("revoke", "deployment/shop"); status != 1 || !strings.Contains(out, "podstep-2006") || !strings.Contains(out, "patch pods") || !strings.Contains(out, "--admin") {
		t.Errorf("a developer who revokes is told %q, exit status %d", out, status)
	}
	s.annotateAs(token, &pods[0])
	s.await(c, "alice's debuggee answers on", time.Now(), visit.By("debuggee"))

	s.grant(s.printedRole("--admin"), nil)
	began := time.Now()
	out, status := bob.said("revoke", "deployment/shop", "--reason", "load test", "--for", "10m")
	if status != 0 || !strings.Contains(out, "no longer steals port 80 of deployment/shop") || !strings.Contains(out, "nobody can steal from its pods for 10m") {
		t.Fatalf("revoke: exit status %d: %s", status, out)
	}
	t.Logf("revoked within %v: %s", time.Since(began).Round(time.Millisecond), out)
	over := time.Now()
	if _, err := d.Output(s.ctx, "(load test) of deployment/shop: the target answers port 80"); err != nil {
		t.Error(err)
	}
	if text := d.Outputs(); !strings.Contains(text, "bob@") || !strings.Contains(text, "revoked stealing until ") {
		t.Errorf("alice is not told who revoked, and until when:\n%s", text)
	}
	if _, err := d.Request(s.ctx, "threads", nil); err != nil {
		t.Errorf("alice's debugger does not go on: %v", err)
	}
	s.eventually("the Events say why", func() bool {
		return strings.Contains(strings.Join(s.saidEvents("PodstepYielded"), "\n"), "(load test)")
	})

	again := s.Start("go")
	err := again.Launch(s.ctx, s.dlv(s.mirror("deployment/shop")), nil)
	var failure *dapclient.Failure
	if !errors.As(err, &failure) || failure.ID != int(fault.StealRevoked) || !strings.Contains(failure.Format, "load test") {
		t.Errorf("alice steals again: %v, want fault %d", err, fault.StealRevoked)
	}
	s.disconnect(again)
	s.disconnect(d)
	bob.cleared()
	s.cleared()
	s.served(c, over)
}

// annotateAs tries, as a developer, what revoke does, and the way round by the right to add an agent: the API server has neither.
func (s *stage) annotateAs(token string, pod *corev1.Pod) {
	s.t.Helper()
	text, err := s.kubeconfig(s.ns, func(user *clientcmdapi.AuthInfo) { user.Token = token })
	if err != nil {
		s.t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		s.t.Fatal(err)
	}
	developer, err := kubernetes.NewForConfig(config)
	if err != nil {
		s.t.Fatal(err)
	}
	change := []byte(`{"metadata":{"annotations":{"podstep.dev/revoked":"all"}}}`)
	if _, err := developer.CoreV1().Pods(s.ns).Patch(s.ctx, pod.Name, types.MergePatchType, change, metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
		s.t.Errorf("a developer's patch of the pod: %v, want forbidden", err)
	}
	_, err = developer.CoreV1().Pods(s.ns).Patch(s.ctx, pod.Name, types.StrategicMergePatchType, change, metav1.PatchOptions{}, "ephemeralcontainers")
	if _, there := s.fresh(pod).Annotations["podstep.dev/revoked"]; there {
		s.t.Errorf("a developer wrote the annotation by pods/ephemeralcontainers (%v)", err)
	}
}

// TestColleagueIsAskedByAJobElsewhere : the agent has a pod of its own in another namespace, and nobody answers for a while.
func TestColleagueIsAskedByAJobElsewhere(t *testing.T) {
	t.Parallel()
	s, tools := newStage(t), newStage(t)
	s.deploy(shop{})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	bob := s.colleague("bob")
	d := s.launched(s.mirror("deployment/shop", map[string]any{"agent": map[string]any{"kind": "job", "namespace": tools.ns, "linger": 0}}))
	s.await(c, "alice's debuggee answers", time.Now(), visit.By("debuggee"))
	if out, status := bob.said("ask", "deployment/shop"); status != 1 || !strings.Contains(out, "podstep-6021") {
		t.Errorf("without the agent's namespace bob is told %q, exit status %d", out, status)
	}
	if out, status := bob.said("ask", "deployment/shop", "--agent-namespace", tools.ns, "--wait", "2s"); status != 4 || !strings.Contains(out, "did not answer") {
		t.Errorf("bob is told %q, exit status %d", out, status)
	}
	s.asked(d)
	released := s.colleague("carl").asks("--agent-namespace", tools.ns)
	s.asked(d)
	gave := time.Now()
	if out, status := s.said("yield"); status != 0 || !strings.Contains(out, "released port 80 of deployment/shop") {
		t.Errorf("alice is told %q, exit status %d", out, status)
	}
	if a := <-released; a.status != 0 {
		t.Errorf("carl is told %q, exit status %d", a.out, a.status)
	}
	s.await(c, "the target answers", gave, visit.By("target"))
	s.disconnect(d)
	s.cleared()
	tools.cleared()
}
