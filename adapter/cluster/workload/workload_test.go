package workload

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// What client-go keeps for a client certificate ends when its transport is collected, and an idle connection after 90 s.
		goleak.IgnoreAnyFunction("k8s.io/client-go/transport.(*dynamicClientCert).run"),
		goleak.IgnoreAnyFunction("k8s.io/client-go/transport.(*dynamicClientCert).processNextWorkItem"),
		goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/util/wait.waitForWithContext"),
		goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/util/wait.PollImmediateUntilWithContext.poller.func1.1"),
		goleak.IgnoreAnyFunction("k8s.io/client-go/util/workqueue.(*delayingType[...]).waitingLoop"),
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*clientConnReadLoop).run"),
	)
}

// parsePod reads a pod's YAML.
func parsePod(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(text), pod); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return pod
}

func TestContainerIsChosenAsKubectlDoes(t *testing.T) {
	const meshed = "containers: [{name: istio-proxy}, {name: app}, {name: helper}]"
	for name, test := range map[string]struct {
		pod, named  string
		want, fault string
	}{
		"the first":              {"spec: {containers: [{name: app}, {name: helper}]}", "", "app", ""},
		"no sidecar":             {"spec: {" + meshed + "}", "", "app", ""},
		"only sidecars":          {"spec: {containers: [{name: envoy}]}", "", "envoy", ""},
		"the annotated":          {"metadata: {annotations: {kubectl.kubernetes.io/default-container: helper}}\nspec: {" + meshed + "}", "", "helper", ""},
		"annotated without such": {"metadata: {annotations: {kubectl.kubernetes.io/default-container: none}}\nspec: {" + meshed + "}", "", "app", ""},
		"the named":              {"spec: {" + meshed + "}", "istio-proxy", "istio-proxy", ""},
		"a native sidecar":       {"spec: {containers: [{name: app}], initContainers: [{name: linkerd-proxy, restartPolicy: Always}]}", "", "app", ""},
		"a mistyped":             {"spec: {" + meshed + "}", "ap", "", `Did you mean "app"?`},
		"an init container":      {"spec: {containers: [{name: app}], initContainers: [{name: set}]}", "set", "", "is an init container"},
		"an ephemeral one":       {"spec: {containers: [{name: app}], ephemeralContainers: [{name: look}]}", "look", "", "is an ephemeral container"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := chooseContainer(parsePod(t, test.pod), test.named)
			var f *fault.Fault
			switch {
			case test.fault == "":
				if err != nil || got.Name != test.want {
					t.Errorf("%v, %v; want %s", got, err, test.want)
				}
			case !errors.As(err, &f) || f.ID != fault.NoTarget || !strings.Contains(f.Error(), test.fault):
				t.Errorf("fault %v, want one with %q", err, test.fault)
			}
		})
	}
}

func TestMeshedPodsAreKnown(t *testing.T) {
	for name, test := range map[string]struct {
		pod  string
		want bool
	}{
		"Istio":                     {"spec: {containers: [{name: app}, {name: istio-proxy}], initContainers: [{name: istio-init}]}", true},
		"Istio with its CNI plugin": {"metadata: {annotations: {sidecar.istio.io/status: '{}'}}\nspec: {containers: [{name: app}], initContainers: [{name: istio-proxy}]}", true},
		"Istio's gateway":           {"spec: {containers: [{name: istio-proxy}]}", false},
		"Istio's ambient mode":      {"metadata: {annotations: {ambient.istio.io/redirection: enabled}}\nspec: {containers: [{name: app}]}", true},
		"ambient mode off":          {"metadata: {annotations: {ambient.istio.io/redirection: disabled}}\nspec: {containers: [{name: app}]}", false},
		"Linkerd":                   {"spec: {containers: [{name: linkerd-proxy}, {name: app}]}", true},
		"Linkerd, native":           {"spec: {containers: [{name: app}], initContainers: [{name: linkerd-proxy}]}", true},
		"Consul":                    {"metadata: {annotations: {consul.hashicorp.com/transparent-proxy-status: enabled}}\nspec: {containers: [{name: app}]}", true},
		"Envoy as the application":  {"spec: {containers: [{name: envoy}]}", false},
		"none":                      {"spec: {containers: [{name: app}]}", false},
	} {
		if got := meshed(parsePod(t, test.pod)); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestProbesAreFoundByPort(t *testing.T) {
	pod := parsePod(t, `
spec:
  containers:
  - name: app
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {port: http, path: /ready}}
    livenessProbe: {httpGet: {port: 8080, path: '/alive?full=1'}}
    startupProbe: {httpGet: {port: http, path: /ready}}
  - name: side
    ports: [{name: http, containerPort: 9090}]
    livenessProbe: {httpGet: {port: http}}
    readinessProbe: {tcpSocket: {port: 9091}}
  - name: secure
    livenessProbe: {httpGet: {port: 8443, scheme: HTTPS}}
    readinessProbe: {httpGet: {port: 8081, host: elsewhere}}
  - name: istio-proxy
    readinessProbe: {httpGet: {port: 15021, path: /healthz/ready}}
    env: [{name: ISTIO_KUBE_APP_PROBERS, value: '{"/app-health/app/livez": {"httpGet": {"path": "/live", "port": 8082, "scheme": "HTTP"}}, "/app-health/b/livez": {"tcpSocket": {"port": 1}}}'}]
  initContainers:
  - name: native
    restartPolicy: Always
    startupProbe: {httpGet: {port: nowhere, path: /x}}
    livenessProbe: {httpGet: {port: 7070, path: /native}}`)
	want := map[uint16][]string{8080: {"/ready", "/alive?full=1"}, 9090: {"/"}, 15021: {"/healthz/ready"}, 8082: {"/live"}, 8443: {"/"}, 7070: {"/native"}}
	if diff := cmp.Diff(want, probes(pod)); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
}

func TestStrictestAnnotationCounts(t *testing.T) {
	w := &Workload{log: zap.NewNop()}
	for written, want := range map[string]Steal{"allow": StealAllow, "filtered-only": StealFilteredOnly, "deny": StealDeny, "Deny": StealDeny, "": StealDeny, "no": StealDeny} {
		if got := w.stealOf("x", map[string]string{StealAnnotation: written}); got != want {
			t.Errorf("%q: %s, want %s", written, got, want)
		}
	}
	if got := w.stealOf("x", map[string]string{"other": "deny"}); got != StealAllow {
		t.Errorf("without annotation: %s", got)
	}
	for _, test := range [][3]Steal{{StealAllow, StealDeny, StealDeny}, {StealFilteredOnly, StealAllow, StealFilteredOnly}, {StealDeny, StealFilteredOnly, StealDeny}, {"", StealAllow, StealAllow}} {
		if got := strictest(test[0], test[1]); got != test[2] {
			t.Errorf("strictest(%q, %q) = %q, want %q", test[0], test[1], got, test[2])
		}
	}
}

func TestPodsAreKeptWhileTheyRun(t *testing.T) {
	at := func(name, id string, ready bool) *corev1.Pod {
		status := corev1.ConditionFalse
		if ready {
			status = corev1.ConditionTrue
		}
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
			Status: corev1.PodStatus{
				Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
				ContainerStatuses: []corev1.ContainerStatus{{Name: "app", ContainerID: "containerd://" + id, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
			},
		}
	}
	ending := at("a", "1", true)
	ending.DeletionTimestamp = &metav1.Time{}
	waiting := at("a", "1", false)
	waiting.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	hosted := at("h", "9", true)
	hosted.Spec.HostNetwork = true
	for name, test := range map[string]struct {
		options Options
		kind    string
		pods    [][]*corev1.Pod
		want    string // after the last of them
	}{
		"taken up when ready":             {Options{}, "deployment", [][]*corev1.Pod{{at("a", "1", false), at("b", "2", true)}}, "b/2"},
		"kept when no longer ready":       {Options{}, "deployment", [][]*corev1.Pod{{at("a", "1", true)}, {at("a", "1", false)}}, "a/1"},
		"not kept when it ends":           {Options{}, "deployment", [][]*corev1.Pod{{at("a", "1", true)}, {ending}}, ""},
		"not kept when its container is":  {Options{}, "deployment", [][]*corev1.Pod{{at("a", "1", true)}, {waiting}}, ""},
		"another after a restart":         {Options{}, "deployment", [][]*corev1.Pod{{at("a", "1", true)}, {at("a", "2", true)}}, "a/2"},
		"a restart that is not ready yet": {Options{}, "deployment", [][]*corev1.Pod{{at("a", "1", true)}, {at("a", "2", false)}}, ""},
		"a named pod need not be ready":   {Options{}, "pod", [][]*corev1.Pod{{at("a", "1", false)}}, "a/1"},
		"one of several":                  {Options{One: true}, "deployment", [][]*corev1.Pod{{at("b", "2", true), at("a", "1", true)}}, "a/1"},
		"the same one as before":          {Options{One: true}, "deployment", [][]*corev1.Pod{{at("b", "2", true)}, {at("a", "1", true), at("b", "2", false)}}, "b/2"},
		"another one when it went":        {Options{One: true}, "deployment", [][]*corev1.Pod{{at("b", "2", true)}, {at("a", "1", true)}}, "a/1"},
		"none in the node's network":      {Options{Incoming: true}, "service", [][]*corev1.Pod{{hosted, at("a", "1", true)}}, "a/1"},
		"its outgoing traffic only":       {Options{}, "service", [][]*corev1.Pod{{hosted}}, "h/9"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &Workload{log: zap.NewNop(), options: test.options, target: config.Target{Kind: test.kind}}
			var k keeper
			var ids []string
			for _, pods := range test.pods {
				ids = nil
				for _, i := range k.choose(w, pods) {
					ids = append(ids, i.ID())
				}
			}
			if got := strings.Join(ids, " "); got != test.want {
				t.Errorf("borrowed are %q, want %q", got, test.want)
			}
		})
	}
}

func TestReasonsAreInKubectlsWords(t *testing.T) {
	for want, text := range map[string]string{
		"ready":                             "status: {conditions: [{type: Ready, status: 'True'}]}",
		"Completed":                         "status: {phase: Succeeded}",
		"Evicted: out of memory":            "status: {phase: Failed, reason: Evicted, message: out of memory}",
		"Unschedulable: 0/2 nodes":          "status: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: 0/2 nodes}]}",
		"Pending":                           "status: {phase: Pending}",
		"ContainerCreating (container app)": "status: {phase: Pending, containerStatuses: [{name: app, state: {waiting: {reason: ContainerCreating}}}]}",
		"CrashLoopBackOff, OOMKilled with exit code 137 (container app)": "status: {phase: Running, containerStatuses: [{name: app, state: {waiting: {reason: CrashLoopBackOff, message: back-off}}, " +
			"lastState: {terminated: {reason: OOMKilled, exitCode: 137}}}]}",
		"ImagePullBackOff: no such image (container app)": "status: {phase: Pending, containerStatuses: [{name: app, state: {waiting: {reason: ImagePullBackOff, message: \"no  such\\nimage\"}}}]}",
		"Init:0/1, init container set is running":         "status: {phase: Pending, initContainerStatuses: [{name: set, state: {running: {}}}], containerStatuses: [{name: app, state: {waiting: {reason: PodInitializing}}}]}",
		"container app is running but not ready":          "status: {phase: Running, initContainerStatuses: [{name: proxy, started: true, state: {running: {}}}], containerStatuses: [{name: app, state: {running: {}}}]}",
		"readiness gate lb is not passed":                 "spec: {containers: [], readinessGates: [{conditionType: lb}]}\nstatus: {phase: Running, containerStatuses: [{name: app, ready: true, state: {running: {}}}]}",
	} {
		if got := WhyNotReady(parsePod(t, text)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	ending := parsePod(t, "status: {conditions: [{type: Ready, status: 'True'}]}")
	ending.DeletionTimestamp = &metav1.Time{}
	if got := WhyNotReady(ending); got != "Terminating" {
		t.Errorf("%q, want Terminating", got)
	}
}
