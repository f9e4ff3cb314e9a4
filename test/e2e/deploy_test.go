//go:build linux

package e2e

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// shop is how a workload runs the shop, or another service of the test image. The zero value is one pod of the shop.
type shop struct {
	// name is the workload's and the value of its pods' label "app". If empty, "shop".
	name string
	// replicas is the number of pods, where the kind has one. If 0, 1.
	replicas int32
	// spread puts the pods on different nodes.
	spread bool
	// command is what runs. If nil, the shop.
	command []string
	// port is where it listens. If 0, 80.
	port int32
	// change is applied to the pod template, if not nil.
	change func(*corev1.PodTemplateSpec)
}

// template is the pod template of o: one container, called like the service, that answers as "target".
func (o shop) template() corev1.PodTemplateSpec {
	if o.command == nil {
		o.command = []string{"/shop"}
	}
	labels := map[string]string{"app": o.name}
	soon := int64(1)
	t := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &soon, EnableServiceLinks: new(bool), // a Service called shop would set $SHOP_PORT
			Containers: []corev1.Container{o.container(o.name)},
		},
	}
	if o.spread {
		t.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: labels}, MatchLabelKeys: []string{appsv1.DefaultDeploymentUniqueLabelKey},
		}}
	}
	if o.change != nil {
		o.change(&t)
	}
	return t
}

// container runs o under that name.
func (o shop) container(name string) corev1.Container {
	return corev1.Container{
		Name: name, Image: testImage, ImagePullPolicy: corev1.PullIfNotPresent, Command: o.command,
		Ports: []corev1.ContainerPort{{ContainerPort: o.port}},
		Env:   []corev1.EnvVar{{Name: "ANSWERED_BY", Value: "target"}, {Name: "SHOP_COLOUR", Value: "orange"}, {Name: "CONTAINER", Value: name}},
	}
}

func (o shop) withDefaults() shop {
	if o.name == "" {
		o.name = "shop"
	}
	if o.port == 0 {
		o.port = 80
	}
	o.replicas = max(o.replicas, 1)
	return o
}

// pod is a bare pod of o.
func (s *stage) pod(o shop) *corev1.Pod {
	o = o.withDefaults()
	t := o.template()
	return &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: o.name, Labels: t.Labels}, Spec: t.Spec}
}

// deploy makes a Deployment and waits until its pods are ready.
func (s *stage) deploy(o shop) []corev1.Pod {
	s.t.Helper()
	return s.start("deployment", o)
}

// start makes a workload of any kind and waits until its pods are ready.
func (s *stage) start(kind string, o shop) []corev1.Pod {
	s.t.Helper()
	o = o.withDefaults()
	s.create(s.workload(kind, o))
	n := int(o.replicas)
	if kind == "daemonset" {
		n = len(s.nodes)
	}
	return s.ready(o.name, n)
}

// workload is an object of that kind, which is a target's in its long form.
func (s *stage) workload(kind string, o shop) runtime.Object {
	s.t.Helper()
	o = o.withDefaults()
	meta, t := metav1.ObjectMeta{Name: o.name}, o.template()
	selector := &metav1.LabelSelector{MatchLabels: t.Labels}
	apps := func(kind string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: "apps/v1", Kind: kind} }
	batch := func(kind string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: "batch/v1", Kind: kind} }
	jobTemplate := t
	jobTemplate.Spec.RestartPolicy = corev1.RestartPolicyNever
	job := batchv1.JobSpec{Template: jobTemplate}
	switch kind {
	case "pod":
		return s.pod(o)
	case "deployment":
		return &appsv1.Deployment{TypeMeta: apps("Deployment"), ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: &o.replicas, Selector: selector, Template: t}}
	case "statefulset":
		return &appsv1.StatefulSet{TypeMeta: apps("StatefulSet"), ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
			Replicas: &o.replicas, Selector: selector, Template: t, ServiceName: o.name, PodManagementPolicy: appsv1.ParallelPodManagement,
		}}
	case "daemonset":
		return &appsv1.DaemonSet{TypeMeta: apps("DaemonSet"), ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: t}}
	case "replicaset":
		return &appsv1.ReplicaSet{TypeMeta: apps("ReplicaSet"), ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Replicas: &o.replicas, Selector: selector, Template: t}}
	case "job":
		job.Parallelism = &o.replicas
		return &batchv1.Job{TypeMeta: batch("Job"), ObjectMeta: meta, Spec: job}
	case "cronjob":
		return &batchv1.CronJob{TypeMeta: batch("CronJob"), ObjectMeta: meta, Spec: batchv1.CronJobSpec{
			Schedule:    "0 0 1 1 *", // no test waits for it
			JobTemplate: batchv1.JobTemplateSpec{Spec: job},
		}}
	}
	s.t.Fatalf("there is no workload of kind %s", kind)
	return nil
}

// resources are where objects of a kind are.
func resources(kind string) schema.GroupVersionResource {
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet":
		return schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: strings.ToLower(kind) + "s"}
	case "Job", "CronJob":
		return schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: strings.ToLower(kind) + "s"}
	case "Rollout":
		return schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}
	case "CustomResourceDefinition":
		return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	}
	return schema.GroupVersionResource{Version: "v1", Resource: strings.ToLower(kind) + "s"}
}

// create makes an object of the namespace. It has its kind.
func (s *stage) create(object runtime.Object) *unstructured.Unstructured {
	s.t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		s.t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: content}
	made, err := s.dynamic.Resource(resources(u.GetKind())).Namespace(s.ns).Create(s.ctx, u, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

// service makes a ClusterIP service in front of a workload's port, under the same port.
func (s *stage) service(name, workload string) string {
	s.t.Helper()
	return s.serve(name, workload, "")
}

// headless makes a service without an address of its own.
func (s *stage) headless(name, workload string) {
	s.t.Helper()
	s.serve(name, workload, corev1.ClusterIPNone)
}

func (s *stage) serve(name, workload, clusterIP string) string {
	s.t.Helper()
	port := int32(80)
	if workload == "stock" {
		port = 81
	}
	made, err := s.client.CoreV1().Services(s.ns).Create(s.ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			ClusterIP: clusterIP, Selector: map[string]string{"app": workload},
			Ports: []corev1.ServicePort{{Port: port, TargetPort: intstr.FromInt32(port)}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return made.Spec.ClusterIP
}

// reachable waits until a service is answered on every node: its rules come to each a little later than its address.
func (s *stage) reachable(service string, port int) {
	s.t.Helper()
	url := fmt.Sprintf("http://%s:%d/", s.clusterIP(service), port)
	for node, watcher := range s.watchers {
		s.eventually(service+" is answered on "+node, func() bool {
			_, err := s.exec(s.ctx, s.namespace, watcher, "", "/visitor", "get", url)
			return err == nil
		})
	}
}

// scale sets the number of a Deployment's replicas.
func (s *stage) scale(name string, n int) {
	s.t.Helper()
	s.patch("Deployment", name, fmt.Sprintf(`{"spec":{"replicas":%d}}`, n))
}
