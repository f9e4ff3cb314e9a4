//go:build linux

package e2e

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// TestSecretsStayWhereTheyBelong : a secret of the target's environment comes to the debuggee and to nothing else that anybody
// could read, and the person's token comes to nothing: not the command line of any process, here or in the cluster, no log, no
// message to the editor, no file, no Event, no agent.
func TestSecretsStayWhereTheyBelong(t *testing.T) {
	cases := []struct {
		name, adapterID, agent, process string
		attributes                      func(*stage, map[string]any) map[string]any
	}{
		{"dlv, ephemeral agent", "go", "ephemeral", "shop", (*stage).dlv},
		{"debugpy in a terminal, job agent", "debugpy", "job", "python3", func(s *stage, m map[string]any) map[string]any {
			a := s.debugpy(m)
			a["console"] = "integratedTerminal"
			return a
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			secret := "tulip" + rand.Text()
			s := newStage(t)
			s.deploy(shop{change: func(p *corev1.PodTemplateSpec) {
				p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: "SHOP_SECRET", Value: secret})
			}})
			s.service("shop", "shop")
			customer := s.customer("http://shop")
			token := s.becomeDeveloper("--agent", c.agent)
			a := &audit{words: map[string]string{"the secret": secret, "the token": token}}
			stop := a.watchCommandLines()
			d := s.Start(c.adapterID)
			terminal := d.Terminal()
			if err := d.Launch(s.ctx, c.attributes(s, s.mirror("deployment/shop", linger(c.agent, 30))), nil); err != nil {
				t.Fatalf("%v\n%s", err, d.Outputs())
			}
			s.await(customer, "the debuggee answers", time.Now(), visit.By("debuggee"))
			if !s.somebodyHas("SHOP_SECRET="+secret, c.process) {
				t.Error("the debuggee lacks the secret: this test would find nothing")
			}
			a.look("the arguments of runInTerminal", fmt.Sprint(*terminal))
			a.cluster(s)
			a.files(s.Runtime)
			s.disconnect(d)
			a.cluster(s)
			stop()
			for _, m := range d.Heard() {
				a.look("a message to the editor", string(marshal(m)))
			}
			a.look("podstep's log at debug level", d.Log.String())
			if !strings.Contains(d.Log.String(), "DEBUG") {
				t.Error("there is no log at debug level")
			}
			a.files(s.Runtime, s.Home)
			for _, found := range a.found {
				t.Error(found)
			}
		})
	}
}

// TestSecretsAreSeenWhereTheyAre holds the audit: it is no good if it never finds any.
func TestSecretsAreSeenWhereTheyAre(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	secret := "tulip" + rand.Text()
	a := &audit{words: map[string]string{"the secret": secret}}
	stop := a.watchCommandLines()
	waiting := s.Program("/bin/sh", "-c", "read x", "sh", secret)
	if _, err := waiting.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	s.eventually("the secret is seen", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.found) > 0
	})
	stop()
	_, _ = waiting.Process.Kill(), waiting.Wait()
	a.found = nil
	s.Write("notes", []byte("it is "+secret))
	a.files(s.Home)
	if len(a.found) != 1 {
		t.Errorf("in a file it was found so: %q", a.found)
	}
}

// somebodyHas tells whether a process of that name at the desk has a variable in its environment.
func (s *stage) somebodyHas(variable, name string) bool {
	for pid := range desk.Processes() {
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if strings.HasPrefix(desk.Comm(pid), name[:min(len(name), 6)]) && strings.Contains(string(environ), s.Home) && strings.Contains(string(environ), variable) {
			return true
		}
	}
	return false
}

// audit looks for words where they do not belong.
type audit struct {
	words map[string]string // what they are

	mu    sync.Mutex
	found []string
}

func (a *audit) look(where, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for what, word := range a.words {
		if at := strings.Index(text, word); at >= 0 && len(a.found) < 10 {
			a.found = append(a.found, fmt.Sprintf("%s is in %s: …%s", what, where, text[max(0, at-200):at]))
		}
	}
}

// watchCommandLines looks at the command lines of all processes of this machine, the cluster's among them, until stop is called.
func (a *audit) watchCommandLines() (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			for pid := range desk.Processes() {
				a.look("a command line", desk.CommandLine(pid))
			}
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	}()
	return func() { close(over); <-done }
}

// cluster looks at what podstep made in the namespace: agents with their logs, Jobs, Events.
func (a *audit) cluster(s *stage) {
	s.t.Helper()
	for _, pod := range s.allPods() {
		own := strings.HasPrefix(pod.Name, "podstep-")
		var containers []string
		if own {
			a.look("the agent's pod", string(marshal(pod)))
			containers = append(containers, pod.Spec.Containers[0].Name)
		}
		a.look("the ephemeral containers", string(marshal(pod.Spec.EphemeralContainers))+string(marshal(pod.Status.EphemeralContainerStatuses)))
		for _, c := range pod.Spec.EphemeralContainers {
			containers = append(containers, c.Name)
		}
		for _, name := range containers {
			log, err := s.client.CoreV1().Pods(s.ns).GetLogs(pod.Name, &corev1.PodLogOptions{Container: name}).DoRaw(s.ctx)
			if err == nil {
				a.look("the agent's log", string(log))
			}
		}
	}
	events, err := s.client.CoreV1().Events(s.ns).List(s.ctx, metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	a.look("an Event", string(marshal(events)))
}

// files looks into all files below some directories, but for the kubeconfig.
func (a *audit) files(dirs ...string) {
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || d.Name() == "kubeconfig" {
				return nil
			}
			if text, err := os.ReadFile(path); err == nil {
				a.look(path, string(text))
			}
			return nil
		})
	}
}
