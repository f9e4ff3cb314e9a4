package attach

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/config"
)

// with adds an agent that was started for needs, in a state.
func with(in Instance, name string, needs Needs, state corev1.ContainerState) Instance {
	then := in
	then.Needs = needs
	in.Pod.Spec.EphemeralContainers = append(in.Pod.Spec.EphemeralContainers, attacher().ephemeral(then, name))
	in.Pod.Status.EphemeralContainerStatuses = append(in.Pod.Status.EphemeralContainerStatuses, corev1.ContainerStatus{Name: name, State: state})
	return in
}

func TestALivingAgentIsReusedIfItSuits(t *testing.T) {
	all := Needs{Steal: true, Process: true}
	for name, tc := range map[string]struct {
		have, want Needs
		reused     bool
	}{
		"the same":                  {all, all, true},
		"less is needed":            {all, Needs{Process: true}, true},
		"nothing is needed":         {Needs{Process: true}, Needs{}, true},
		"more capabilities":         {Needs{Process: true}, all, false},
		"another capability":        {Needs{Mirror: true}, Needs{Steal: true}, false},
		"its process":               {Needs{Steal: true}, all, false},
		"another policy":            {all, Needs{Steal: true, Policy: FilteredOnly}, false},
		"the same, as a policy has": {Needs{Mirror: true, Policy: Deny}, Needs{Mirror: true, Policy: Deny}, true},
	} {
		t.Run(name, func(t *testing.T) {
			in := with(instance(0, tc.want), "podstep-a", tc.have, running)
			a := &Attacher{Agent: config.Agent{Kind: config.AgentEphemeral}}
			got, err := a.living(t.Context(), in, nil, false)
			if err != nil || (got != nil) != tc.reused {
				t.Fatalf("got %v, %v", got, err)
			}
			if got != nil && got.Container != "podstep-a" {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestAnAgentThatEndedOrIsOfAnotherStartIsNotReused(t *testing.T) {
	needs := Needs{Process: true}
	a := &Attacher{Agent: config.Agent{Kind: config.AgentEphemeral}}
	in := with(instance(0, needs), "podstep-a", needs, terminated(0, "Completed", ""))
	in = with(in, "podstep-b", needs, waiting("ContainerCreating", ""))
	in = with(in, "debugger-c", needs, running)
	if got, err := a.living(t.Context(), in, nil, false); got != nil || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	in = with(in, "podstep-d", needs, running)
	in = with(in, "podstep-e", needs, running)
	if got, _ := a.living(t.Context(), in, nil, false); got == nil || got.Container != "podstep-e" {
		t.Errorf("got %v, want the youngest", got)
	}
	if got, _ := a.living(t.Context(), in, []string{"podstep-e"}, false); got == nil || got.Container != "podstep-d" {
		t.Errorf("got %v, want the one that was not tried", got)
	}
	in.ID = "another"
	if got, _ := a.living(t.Context(), in, nil, false); got != nil {
		t.Errorf("got %v, of a container that was started before", got)
	}
}

func TestAnAgentInAPodOfItsOwnIsReused(t *testing.T) {
	in := instance(0, Needs{Steal: true})
	a := attacher()
	job := a.job(in, "podstep-j")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "podstep-j-xyz", Labels: job.Spec.Template.Labels,
			OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: "podstep-j", Controller: ptr.To(true)}},
		},
		Spec:   job.Spec.Template.Spec,
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: container, State: running}}},
	}
	a.Cluster = &api.Cluster{Client: fake.NewClientset(pod), Namespace: "shop"}
	for kind, reused := range map[string]bool{config.AgentAuto: true, config.AgentJob: true, config.AgentEphemeral: false} {
		a.Agent.Kind = kind
		got, err := a.living(t.Context(), in, nil, false)
		if err != nil || (got != nil) != reused || reused && got.Job != "podstep-j" {
			t.Errorf("kind %s: got %v, %v", kind, got, err)
		}
	}
	a.Agent.Kind = config.AgentEphemeral
	if got, err := a.living(t.Context(), in, nil, true); err != nil || got == nil || got.Job != "podstep-j" {
		t.Errorf("where something is: %v, %v", got, err)
	}
	if got, err := a.living(t.Context(), in, []string{"podstep-j"}, true); got != nil || err != nil {
		t.Errorf("got %v, %v, which ended", got, err)
	}
	a.Agent.Kind, in.ID = config.AgentJob, "another"
	if got, err := a.living(t.Context(), in, nil, false); got != nil || err != nil {
		t.Errorf("got %v, %v, of another container", got, err)
	}
}

func TestAnAgentThatIsBeingStartedIsWaitedFor(t *testing.T) {
	needs := Needs{Steal: true, Process: true}
	a := attacher()
	for name, tc := range map[string]struct {
		state corev1.ContainerState
		image string
		want  string
	}{
		"of the same image": {waiting("ContainerCreating", ""), a.Image, "podstep-a"},
		"it was not seen":   {running, a.Image, "podstep-a"},
		"of another image":  {waiting("ImagePullBackOff", ""), "podstep.dev/agent:other", ""},
		"it ended":          {terminated(1, "Error", ""), a.Image, ""},
	} {
		in := with(instance(0, needs), "podstep-a", needs, tc.state)
		in.Pod.Spec.EphemeralContainers[0].Image = tc.image
		if name == "it was not seen" {
			in.Pod.Status.EphemeralContainerStatuses = nil
		}
		if got := a.pending(in); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestOfTwoWhoBeginAtOnceTheSecondTakesTheFirstOnesAgent(t *testing.T) {
	needs := Needs{Steal: true, Process: true}
	seen := instance(0, needs)
	changed := with(instance(0, needs), "podstep-first", needs, running)
	changed.Pod.ResourceVersion = "8"
	client := fake.NewClientset(changed.Pod)
	client.PrependReactor("patch", "pods", func(action k8stesting.Action) (bool, runtime.Object, error) {
		patch := string(action.(k8stesting.PatchAction).GetPatch())
		if !strings.Contains(patch, `"resourceVersion":"7"`) {
			t.Errorf("the patch does not say which pod was seen: %s", patch)
		}
		return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "web-0", errors.New("the object has been modified"))
	})
	a := attacher()
	a.Cluster = &api.Cluster{Client: client, Namespace: "shop"}
	if got, err := a.startEphemeral(t.Context(), seen, "podstep-second"); err != nil || got.Container != "podstep-first" || got.Started {
		t.Errorf("got %+v, %v, want the first one's agent", got, err)
	}
}
