package attach

import (
	"crypto/rand"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const (
	// prefix begins the names of all agents.
	prefix = "podstep-"
	// program is the agent's in its image.
	program = "/podstep-agent"
)

// newName is a name that was never used: those of ephemeral containers stay taken for ever.
func newName() string { return prefix + strings.ToLower(rand.Text()[:10]) }

// ephemeral is the agent as an ephemeral container of in's pod. It has no resources, because an ephemeral container may
// have none.
func (a *Attacher) ephemeral(in Instance, name string) corev1.EphemeralContainer {
	c := corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name:                     name,
		Image:                    a.image(),
		ImagePullPolicy:          corev1.PullIfNotPresent,
		Args:                     a.residentArgs(in.Needs, name),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          in.Needs.beside(in),
	}}
	if in.Needs.Process {
		c.TargetContainerName = in.Container
		c.Args = append(c.Args, "--container", in.ID)
	}
	return c
}

// residentArgs are the arguments of every kind. name is what others who find the agent are told.
func (a *Attacher) residentArgs(needs Needs, name string) []string {
	level := a.Level
	if level == "" {
		level = "info"
	}
	return []string{"resident", "--name", name, "--steal", string(needs.policy()), "--log", level}
}

// beside is the security context of an agent in in's own pod: as uid 0 with the capabilities that the session needs, or as
// the target's own user with the target's own capabilities, which may read the target's environment, too.
func (n Needs) beside(in Instance) *corev1.SecurityContext {
	sc := confined()
	caps := n.network()
	user, known := userOf(in)
	// A privileged target has every capability, which nobody else gets: it takes SYS_PTRACE to look into it.
	privileged := ptr.Deref(contextOf(in).Privileged, false)
	if len(caps) == 0 && (known && !privileged || !n.Process) {
		n.asTarget(sc, in, user, known)
		return sc
	}
	if n.Process {
		caps = append(caps, "SYS_PTRACE")
	}
	sc.Capabilities.Add = caps
	sc.RunAsUser, sc.RunAsGroup, sc.RunAsNonRoot = ptr.To[int64](0), ptr.To[int64](0), ptr.To(false)
	return sc
}

// asTarget makes the agent the target's own user, or any ordinary one when the target's is neither known nor needed.
func (n Needs) asTarget(sc *corev1.SecurityContext, in Instance, user user, known bool) {
	if !known || !n.Process && user.uid == 0 {
		user = ordinary
	}
	sc.RunAsUser, sc.RunAsGroup = &user.uid, &user.gid
	if user.uid != 0 {
		// Without ambient capabilities, which Kubernetes does not give, an ordinary user has none: nor has the target.
		sc.RunAsNonRoot = ptr.To(true)
		return
	}
	sc.RunAsNonRoot = ptr.To(false)
	// The kernel lets it look into a process with no more capabilities than it has itself (ptrace(2)).
	sc.Capabilities = &corev1.Capabilities{}
	if own := contextOf(in).Capabilities; own != nil {
		sc.Capabilities = own.DeepCopy()
	}
}

// confined is what every agent's security context has.
func confined() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// user is whom a process belongs to.
type user struct{ uid, gid int64 }

// ordinary is an agent's user where no other is needed: nobody's.
var ordinary = user{65532, 65532}

// userOf is whom the target's process belongs to: as the kubelet reports it, else as the specification says. It is not known
// when the image decides and the kubelet does not say.
func userOf(in Instance) (user, bool) {
	for _, s := range in.Pod.Status.ContainerStatuses {
		if s.Name == in.Container && s.User != nil && s.User.Linux != nil {
			return user{s.User.Linux.UID, s.User.Linux.GID}, true
		}
	}
	pod, own := in.Pod.Spec.SecurityContext, contextOf(in)
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	uid, gid := first(own.RunAsUser, pod.RunAsUser), first(own.RunAsGroup, pod.RunAsGroup)
	if uid == nil {
		return user{}, false
	}
	return user{*uid, ptr.Deref(gid, 0)}, true
}

// contextOf is the target container's security context, never nil.
func contextOf(in Instance) *corev1.SecurityContext {
	for _, c := range in.Pod.Spec.Containers {
		if c.Name == in.Container && c.SecurityContext != nil {
			return c.SecurityContext
		}
	}
	return &corev1.SecurityContext{}
}

func first(values ...*int64) *int64 {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}
