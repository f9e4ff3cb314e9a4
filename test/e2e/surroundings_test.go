//go:build linux

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// off is a key of a block: incoming traffic is left alone.
func off() map[string]any { return map[string]any{"incoming": map[string]any{"mode": "off"}} }

// name is what "visitor resolve" prints of one.
type name struct {
	Name      string
	Addresses []string
	NotFound  bool
	Error     string
}

// TestDebuggeeHasThePodsSurroundings : names, connections, environment and hostname of a process here are those of the pod,
// and its names come to what they come to in the pod itself.
func TestDebuggeeHasThePodsSurroundings(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pods := s.deploy(shop{replicas: 2, spread: true})
	address := s.service("shop", "shop")
	s.headless("shop-pods", "shop")
	mirror := s.mirror("deployment/shop", off(), map[string]any{"pods": "one"})
	fqdn := "shop." + s.ns + ".svc.cluster.local"
	wants := []name{
		{Name: "shop", Addresses: []string{address}},
		{Name: "shop." + s.ns, Addresses: []string{address}},
		{Name: fqdn, Addresses: []string{address}},
		{Name: fqdn + ".", Addresses: []string{address}},
		{Name: "shop-pods", Addresses: addresses(pods)},
		{Name: "nobody.example.com", NotFound: true},
		{Name: "nothing", NotFound: true},
	}
	var names []string
	for _, want := range wants {
		names = append(names, want.Name)
	}
	var diff string
	t.Cleanup(func() {
		if diff != "" {
			t.Logf("in the pod names resolve otherwise than wanted:\n%s", diff)
		}
	})
	s.eventually("the cluster's DNS knows the services", func() bool {
		diff = cmp.Diff(wants, s.resolvedIn(&pods[0], names))
		return diff == ""
	})
	s.reachable("stock", 81)
	t.Run("resolve", func(t *testing.T) {
		out, err := s.run(mirror, append([]string{s.visitor(), "resolve"}, names...)...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wants, parseNames(t, out)); diff != "" {
			t.Errorf("names resolve otherwise than in the pod (-want +got):\n%s", diff)
		}
	})
	t.Run("getaddrinfo", func(t *testing.T) {
		// The C library has a resolver of its own.
		script := "import socket, sys\nfor n in sys.argv[1:]:\n try: print(n, *sorted({a[4][0] for a in socket.getaddrinfo(n, 80, socket.AF_INET)}))\n except socket.gaierror as e: print(n, e.errno == socket.EAI_NONAME)\n"
		out, err := s.run(mirror, append([]string{"/usr/bin/python3", "-c", script}, names...)...)
		if err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		for _, w := range wants {
			if w.NotFound {
				w.Addresses = []string{"True"}
			}
			want.WriteString(w.Name + " " + strings.Join(w.Addresses, " ") + "\n")
		}
		if diff := cmp.Diff(want.String(), out); diff != "" {
			t.Errorf("names resolve otherwise than in the pod (-want +got):\n%s", diff)
		}
	})
	t.Run("connections", func(t *testing.T) {
		stock := s.pods("stock")[0].Status.PodIP
		for _, url := range []string{"http://stock:81/price/123", "http://" + s.clusterIP("stock") + ":81/price/123", "http://" + stock + ":81/price/123"} {
			out, err := s.run(mirror, s.visitor(), "get", url)
			if err != nil || strings.TrimSpace(out) != "300" {
				t.Errorf("%s answers %q: %v", url, out, err)
			}
		}
	})
	t.Run("environment", func(t *testing.T) {
		hostname, env := s.environment(mirror)
		if !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Name == hostname }) {
			t.Errorf("the hostname is %q, want a pod's", hostname)
		}
		for _, want := range []string{"SHOP_COLOUR=orange", "ANSWERED_BY=target", "KUBERNETES_SERVICE_PORT=443"} {
			if !slices.Contains(env, want) {
				t.Errorf("the debuggee has no %s", want)
			}
		}
	})
	s.cleared()
}

func addresses(pods []corev1.Pod) (found []string) {
	for _, pod := range pods {
		found = append(found, pod.Status.PodIP)
	}
	slices.Sort(found)
	return found
}

// resolvedIn is what names come to in a pod.
func (s *stage) resolvedIn(pod *corev1.Pod, names []string) []name {
	s.t.Helper()
	out, err := s.exec(s.ctx, s.ns, pod.Name, "", append([]string{"/visitor", "resolve"}, names...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	return parseNames(s.t, string(out))
}

func parseNames(t *testing.T, out string) (names []name) {
	t.Helper()
	for line := range strings.Lines(out) {
		var n name
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		n.Error = ""
		names = append(names, n)
	}
	return names
}

func (s *stage) clusterIP(service string) string {
	s.t.Helper()
	made, err := s.client.CoreV1().Services(s.ns).Get(s.ctx, service, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return made.Spec.ClusterIP
}
