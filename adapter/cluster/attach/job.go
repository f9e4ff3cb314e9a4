package attach

import (
	"maps"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const (
	labelManaged   = "app.kubernetes.io/managed-by"
	labelName      = "app.kubernetes.io/name"
	labelContainer = "podstep.dev/container"
	managedBy      = "podstep"
	agentName      = "podstep-agent"
	// targetless is the value of labelContainer where there is no target.
	targetless = "none"
	// container is the agent's in its own pod.
	container = "agent"

	// lifetime is after which an agent goes whatever happens, as its own argument says; the job is ended a little later, for
	// an agent that hangs.
	lifetime = 24 * time.Hour
	grace    = time.Minute
)

// job is the agent as a job: a pod on in's node that finds the container by its cgroup and enters its namespaces.
func (a *Attacher) job(in Instance, name string) *batchv1.Job {
	c := a.container(in.Needs, name)
	c.Args = append(c.Args, "--container", in.ID, "--enter")
	c.SecurityContext = confined()
	// SYS_ADMIN enters namespaces; the API server refuses to forbid escalation beside it.
	c.SecurityContext.AllowPrivilegeEscalation = nil
	c.SecurityContext.Capabilities.Add = append([]corev1.Capability{"SYS_ADMIN", "SYS_PTRACE"}, in.Needs.network()...)
	c.SecurityContext.RunAsUser, c.SecurityContext.RunAsGroup, c.SecurityContext.RunAsNonRoot = ptr.To[int64](0), ptr.To[int64](0), ptr.To(false)
	pod := a.podSpec(c)
	pod.HostPID = true
	pod.NodeName = in.Pod.Spec.NodeName
	// The target runs there whatever the node's taints.
	pod.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	job := a.newJob(name, a.namespace(in), label(in.ID), pod)
	if job.Namespace == in.Pod.Namespace {
		pod.ImagePullSecrets = in.Pod.Spec.ImagePullSecrets
		job.Spec.Template.Spec = pod
		job.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: in.Pod.Name, UID: in.Pod.UID}}
	}
	return job
}

// targetlessJob is an agent of its own: a pod that is admitted everywhere.
func (a *Attacher) targetlessJob(namespace, name string) *batchv1.Job {
	c := a.container(Needs{Policy: Deny}, name)
	c.SecurityContext = confined()
	pod := a.podSpec(c)
	pod.SecurityContext = &corev1.PodSecurityContext{
		RunAsUser: ptr.To(ordinary.uid), RunAsGroup: ptr.To(ordinary.gid), RunAsNonRoot: ptr.To(true),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	return a.newJob(name, namespace, targetless, pod)
}

// container is what the agent's container is in either job.
func (a *Attacher) container(needs Needs, name string) corev1.Container {
	return corev1.Container{
		Name:                     container,
		Image:                    a.image(),
		ImagePullPolicy:          corev1.PullIfNotPresent,
		Args:                     a.residentArgs(needs, name),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		// The agent keeps itself below 32 MiB; a session's burst, and its threads' stacks, come on top.
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("128Mi")},
		},
	}
}

func (a *Attacher) podSpec(c corev1.Container) corev1.PodSpec {
	return corev1.PodSpec{
		Containers:                    []corev1.Container{c},
		RestartPolicy:                 corev1.RestartPolicyNever,
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		TerminationGracePeriodSeconds: ptr.To[int64](2),
	}
}

func (a *Attacher) newJob(name, namespace, of string, pod corev1.PodSpec) *batchv1.Job {
	labels := map[string]string{labelManaged: managedBy, labelName: agentName, labelContainer: of}
	template := maps.Clone(labels)
	maps.Copy(template, meshLabels())
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels},
		Spec: batchv1.JobSpec{
			ActiveDeadlineSeconds:   ptr.To(int64((lifetime + grace).Seconds())),
			TTLSecondsAfterFinished: ptr.To[int32](0),
			BackoffLimit:            ptr.To[int32](0),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: template, Annotations: meshAnnotations()},
				Spec:       pod,
			},
		},
	}
}

// label is a container's id as a label's value, which may have 63 characters; half of an id names it surely enough.
func label(id string) string { return id[:min(len(id), 32)] }

// meshLabels and meshAnnotations keep the sidecars of service meshes out of the agent's pod: Istio and Kuma look at
// labels, Linkerd, Consul and older releases at annotations.
func meshLabels() map[string]string {
	return map[string]string{"sidecar.istio.io/inject": "false", "kuma.io/sidecar-injection": "disabled"}
}

func meshAnnotations() map[string]string {
	return map[string]string{
		"sidecar.istio.io/inject":             "false",
		"linkerd.io/inject":                   "disabled",
		"kuma.io/sidecar-injection":           "disabled",
		"consul.hashicorp.com/connect-inject": "false",
	}
}
