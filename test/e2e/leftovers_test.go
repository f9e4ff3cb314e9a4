//go:build linux

package e2e

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// patch changes an object of the namespace by a merge patch.
func (s *stage) patch(kind, name, patch string) {
	s.t.Helper()
	_, err := s.dynamic.Resource(resources(kind)).Namespace(s.ns).Patch(s.ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
}

// cleared fails the test when anything of its sessions is left, here or in the cluster.
func (s *stage) cleared() {
	s.t.Helper()
	var left string
	defer func() {
		if left != "" {
			s.t.Logf("left over: %s", left)
		}
	}()
	s.eventually("nothing of the sessions is left", func() bool {
		left = s.leftover()
		return left == ""
	})
}

// leftover says what is left of sessions: processes and files at the desk; agents, rules, pods, Jobs and Secrets in the
// namespace. It is empty when all is gone.
func (s *stage) leftover() string {
	s.t.Helper()
	var left []string
	if here := s.Leftover(); here != "" {
		left = append(left, here)
	}
	left = append(left, s.Files()...)
	pods, err := s.client.CoreV1().Pods(s.ns).List(s.ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for i := range pods.Items {
		left = append(left, s.leftIn(&pods.Items[i])...)
	}
	jobs, err := s.client.BatchV1().Jobs(s.ns).List(s.ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, job := range jobs.Items {
		left = append(left, ours("Job", job.Name)...)
	}
	secrets, err := s.client.CoreV1().Secrets(s.ns).List(s.ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, secret := range secrets.Items {
		left = append(left, ours("Secret", secret.Name)...)
	}
	return strings.Join(left, "; ")
}

// ours is the name of an object that podstep made.
func ours(kind, name string) []string {
	if strings.HasPrefix(name, "podstep") {
		return []string{kind + " " + name}
	}
	return nil
}

// leftIn says what is left in one pod.
func (s *stage) leftIn(pod *corev1.Pod) (left []string) {
	left = ours("pod", pod.Name)
	for _, name := range agents(pod) {
		left = append(left, fmt.Sprintf("%s: container %s runs", pod.Name, name))
	}
	if pod.Spec.NodeName == "" {
		return left
	}
	seen, err := s.look(s.ctx, pod)
	if err != nil {
		return append(left, err.Error())
	}
	for _, p := range seen.Processes {
		if strings.HasPrefix(p.Name, "podstep") {
			left = append(left, fmt.Sprintf("%s: process %s", pod.Name, p.Name))
		}
	}
	for _, table := range seen.Tables {
		if strings.HasPrefix(table, "podstep") {
			left = append(left, fmt.Sprintf("%s: rules %s", pod.Name, table))
		}
	}
	return left
}

// agents are the names of the ephemeral containers of podstep that run in a pod.
func agents(pod *corev1.Pod) (names []string) {
	for _, c := range pod.Status.EphemeralContainerStatuses {
		if strings.HasPrefix(c.Name, "podstep-") && c.State.Running != nil {
			names = append(names, c.Name)
		}
	}
	return names
}
