//go:build linux

package e2e

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// defineRollouts defines the kind Rollout as Argo does, as far as it matters here, and waits until it is served. It stays
// until the tests end.
func (s *stage) defineRollouts() {
	s.t.Helper()
	anything := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "rollouts.argoproj.io"},
		"spec": map[string]any{
			"group": "argoproj.io", "scope": "Namespaced",
			"names": map[string]any{"kind": "Rollout", "plural": "rollouts", "singular": "rollout", "shortNames": []any{"ro"}},
			"versions": []any{map[string]any{
				"name": "v1alpha1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{
					"type": "object", "properties": map[string]any{"spec": anything, "status": anything},
				}},
			}},
		},
	}}
	_, err := s.dynamic.Resource(resources("CustomResourceDefinition")).Create(s.ctx, crd, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		s.t.Fatal(err)
	}
	s.eventually("rollouts are served", func() bool {
		_, err := s.dynamic.Resource(resources("Rollout")).Namespace(s.ns).List(s.ctx, metav1.ListOptions{})
		return err == nil
	})
}

// rollout is an object of that kind. Nothing here controls it: see ownedReplicaSet.
func (s *stage) rollout(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": map[string]any{"name": name},
		"spec":   map[string]any{"replicas": int64(1), "selector": map[string]any{"matchLabels": map[string]any{"app": name}}},
		"status": map[string]any{"replicas": int64(1), "readyReplicas": int64(1)},
	}}
}

// ownedReplicaSet makes the ReplicaSet that the controller of rollouts would make.
func (s *stage) ownedReplicaSet(rollout *unstructured.Unstructured, o shop) {
	s.t.Helper()
	rs := s.workload("replicaset", o).(*appsv1.ReplicaSet)
	rs.Name = fmt.Sprintf("%s-5d8f7", rollout.GetName())
	rs.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(rollout, rollout.GroupVersionKind())}
	s.create(rs)
}
