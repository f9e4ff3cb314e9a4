package attach

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/internal/fault"
)

// watched is an attacher whose watches are w, one after the other.
func watched(w ...*watch.FakeWatcher) *Attacher {
	client := fake.NewClientset()
	client.PrependWatchReactor("pods", func(k8stesting.Action) (bool, watch.Interface, error) {
		first := w[0]
		w = w[1:]
		return true, first, nil
	})
	return &Attacher{Cluster: &api.Cluster{Client: client, Namespace: "shop"}}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func terminated(code int32, reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
}

var running = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}

func podWith(state corev1.ContainerState) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0"},
		Status:     corev1.PodStatus{EphemeralContainerStatuses: []corev1.ContainerStatus{{Name: "podstep-x", Image: "agent:1", State: state}}},
	}
}

func TestAwaitSaysWhatTheKubeletSays(t *testing.T) {
	for name, tc := range map[string]struct {
		states []corev1.ContainerState
		id     fault.ID
		words  string
	}{
		"it runs":                {[]corev1.ContainerState{waiting("ContainerCreating", ""), running}, 0, ""},
		"no image":               {[]corev1.ContainerState{waiting("ErrImageNeverPull", "not present")}, fault.AgentImage, "agent:1: ErrImageNeverPull: not present"},
		"pull fails":             {[]corev1.ContainerState{waiting("ContainerCreating", ""), waiting("ErrImagePull", "no such host")}, fault.AgentImage, "no such host"},
		"pull is given up":       {[]corev1.ContainerState{waiting("ImagePullBackOff", "Back-off")}, fault.AgentImage, "Back-off"},
		"bad reference":          {[]corev1.ContainerState{waiting("InvalidImageName", "x")}, fault.AgentImage, "InvalidImageName"},
		"cannot be made":         {[]corev1.ContainerState{waiting("CreateContainerConfigError", "image will run as root")}, fault.AgentPending, "image will run as root"},
		"the image runs nothing": {[]corev1.ContainerState{terminated(128, "StartError", "exec format error")}, fault.AgentImage, "exec format error"},
		"the image has none":     {[]corev1.ContainerState{waiting("RunContainerError", `exec: "resident": executable file not found in $PATH`)}, fault.AgentImage, "not found"},
		"it ends at once":        {[]corev1.ContainerState{terminated(2, "Error", "no such flag\n")}, fault.AgentStart, "status 2: Error: no such flag"},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch.NewFakeWithChanSize(len(tc.states), false)
			for _, s := range tc.states {
				w.Modify(podWith(s))
			}
			err := watched(w).awaitEphemeral(t.Context(), podWith(corev1.ContainerState{}), "podstep-x")
			var f *fault.Fault
			switch {
			case tc.id == 0 && err != nil:
				t.Errorf("got %v", err)
			case tc.id != 0 && (!errors.As(err, &f) || f.ID != tc.id || !strings.Contains(f.Error(), tc.words)):
				t.Errorf("got %v, want fault %d with %q", err, tc.id, tc.words)
			}
		})
	}
}

func TestAwaitTellsThatAnotherAgentIsThere(t *testing.T) {
	w := watch.NewFakeWithChanSize(1, false)
	w.Modify(podWith(terminated(statusTaken, "Error", "taken")))
	if err := watched(w).awaitEphemeral(t.Context(), podWith(corev1.ContainerState{}), "podstep-x"); !errors.Is(err, errTaken) {
		t.Errorf("got %v", err)
	}
}

func TestAwaitWatchesOnWhenTheServerEndsAWatch(t *testing.T) {
	first, second := watch.NewFakeWithChanSize(1, false), watch.NewFakeWithChanSize(1, false)
	first.Modify(podWith(waiting("ContainerCreating", "")))
	first.Stop()
	second.Add(podWith(running))
	if err := watched(first, second).awaitEphemeral(t.Context(), podWith(waiting("", "")), "podstep-x"); err != nil {
		t.Error(err)
	}
}

func TestAwaitEndsWithThePodOrTheCaller(t *testing.T) {
	deleted := watch.NewFakeWithChanSize(1, false)
	deleted.Delete(podWith(running))
	var f *fault.Fault
	if err := watched(deleted).awaitEphemeral(t.Context(), podWith(corev1.ContainerState{}), "podstep-x"); !errors.As(err, &f) || f.ID != fault.TargetGone {
		t.Errorf("got %v, want that the target is gone", err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("the editor went"))
	defer cancel()
	silent := watch.NewFake()
	defer silent.Stop()
	go func() { <-ctx.Done(); silent.Stop() }()
	if err := watched(silent).awaitEphemeral(ctx, podWith(corev1.ContainerState{}), "podstep-x"); !errors.As(err, &f) || !strings.Contains(f.Error(), "the editor went") {
		t.Errorf("got %v", err)
	}
}

func TestAPodThatNoNodeTakesIsAFault(t *testing.T) {
	var p progress
	pod := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/2 nodes are available",
	}}}}
	var f *fault.Fault
	if err := p.lookPod(pod); !errors.As(err, &f) || f.ID != fault.AgentPending || !strings.Contains(f.Error(), "0/2 nodes") {
		t.Errorf("got %v", err)
	}
	pod = &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfmemory", Message: "Node didn't have enough resource"}}
	if err := p.lookPod(pod); !errors.As(err, &f) || f.ID != fault.AgentPending || !strings.Contains(f.Error(), "OutOfmemory") {
		t.Errorf("got %v", err)
	}
	if err := p.lookPod(&corev1.Pod{}); err != nil {
		t.Errorf("a pod of which nothing is known: %v", err)
	}
}
