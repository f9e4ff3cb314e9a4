package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
)

// status answers with an API status.
func status(code int, reason metav1.StatusReason, message, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": %d, "reason": %q, "message": %q, "details": {"kind": "pods", "name": %q}}`, code, reason, message, name)
	}
}

func TestAnswersOfTheAPIServerBecomeFaults(t *testing.T) {
	const denied = `pods "web-0" is forbidden: User "system:serviceaccount:shop:anna" cannot create resource "pods/exec" in API group "" in the namespace "shop"`
	for name, test := range map[string]struct {
		serve      http.HandlerFunc
		id         fault.ID
		what, hint string
		temporary  bool
	}{
		"a missing permission": {status(403, "Forbidden", denied, "web-0"), fault.Forbidden,
			`may not create pods/exec of "web-0" in namespace "shop" as "system:serviceaccount:shop:anna"`, "podstep rbac -n shop", false},
		"one of another group": {status(403, "Forbidden", `deployments.apps is forbidden: User "bob" cannot list resource "deployments" in API group "apps" in the namespace "shop": RBAC: x`, ""), fault.Forbidden,
			`may not list deployments.apps in namespace "shop" as "bob"`, "podstep rbac -n shop", false},
		"one for the cluster": {status(403, "Forbidden", `nodes is forbidden: User "bob" cannot list resource "nodes" in API group "" at the cluster scope`, ""), fault.Forbidden,
			`may not list nodes as "bob"`, "for the whole cluster", false},
		"Pod Security": {status(403, "Forbidden", `pods "web-0" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities`, "web-0"), fault.Forbidden,
			"a policy of the cluster does not let podstep list the pods", "podstep doctor", false},
		"another policy":        {status(403, "Forbidden", `admission webhook "x" denied the request: no`, ""), fault.Forbidden, "a policy of the cluster", "cluster's policies", false},
		"refused credentials":   {status(401, "Unauthorized", "Unauthorized", ""), fault.NoCluster, "lab refuses the kubeconfig's credentials", "kubectl get pods", false},
		"something not there":   {status(404, "NotFound", `pods "web-0" not found`, "web-0"), fault.NoTarget, "cannot list the pods", "podstep targets", false},
		"a busy server":         {status(429, "TooManyRequests", "slowly", ""), fault.NoCluster, "cannot list the pods: lab does not answer", "kubectl", true},
		"a starting server":     {status(503, "ServiceUnavailable", "starting", ""), fault.NoCluster, "does not answer", "kubectl", true},
		"a failing server":      {status(500, "InternalError", "etcdserver: leader changed", ""), fault.NoCluster, "does not answer", "kubectl", true},
		"a proxy's page":        {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }, fault.NoCluster, "does not answer", "kubectl", true},
		"a version that is old": {status(410, "Expired", "too old", ""), fault.NoCluster, "does not answer", "kubectl", true},
		"what nobody expects":   {status(422, "Invalid", "no", ""), fault.Internal, "cannot list the pods", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, connect := apiServer(t, test.serve)
			c := connect("{token: x}", nil)
			_, cause := c.Client.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
			err := c.Fault(cause, "list the pods")
			var f *fault.Fault
			if !errors.As(err, &f) {
				t.Fatalf("%v is no fault", err)
			}
			if f.ID != test.id || !strings.Contains(f.What, test.what) || !strings.Contains(f.Advice(), test.hint) || place.IsTemporary(err) != test.temporary {
				t.Errorf("fault %v, temporary %v; want %+v", f, place.IsTemporary(err), test)
			}
		})
	}
}

func TestConnectionsThatFailBecomeFaults(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	trusted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(trusted.Close)
	mutual := httptest.NewUnstartedServer(http.NotFoundHandler())
	mutual.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	mutual.StartTLS()
	t.Cleanup(mutual.Close)
	for name, test := range map[string]struct {
		server    string
		verify    bool
		what      string
		temporary bool
	}{
		"nobody listens":         {"https://" + closed.Addr().String(), false, "cannot list the pods: lab does not answer", true},
		"no such name":           {"https://api.invalid", false, "cannot list the pods: lab does not answer", true},
		"no TLS":                 {"https://" + plain.Listener.Addr().String(), false, "what answers for lab does not speak TLS", false},
		"an unknown authority":   {trusted.URL, true, "the certificate of lab is not trusted", false},
		"a certificate is asked": {mutual.URL, false, "lab refuses the kubeconfig's client certificate", false},
	} {
		t.Run(name, func(t *testing.T) {
			text := kubeconfig("lab", test.server, "{token: x}")
			if test.verify {
				text = strings.Replace(text, ", insecure-skip-tls-verify: true", "", 1)
			}
			c, err := Connect(Options{Kubeconfig: write(t, "kubeconfig", text)})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, cause := c.Client.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
			err = c.Fault(cause, "list the pods")
			var f *fault.Fault
			if !errors.As(err, &f) || f.ID != fault.NoCluster || f.What != test.what || place.IsTemporary(err) != test.temporary {
				t.Errorf("fault %v, temporary %v; want %q", err, place.IsTemporary(err), test.what)
			}
		})
	}
}

func TestFaultKeepsWhatIsKnown(t *testing.T) {
	if err := Fault(nil, "x"); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	known := place.Temporary(fault.New(fault.AgentPending, "it waits", nil))
	if err := Fault(fmt.Errorf("attach: %w", known), "x"); !place.IsTemporary(err) || fault.As(err).ID != fault.AgentPending {
		t.Errorf("of a fault: %v", err)
	}
	if err := Fault(fmt.Errorf("wait: %w", context.Canceled), "wait"); !errors.Is(err, context.Canceled) || place.IsTemporary(err) {
		t.Errorf("of a canceled context: %v", err)
	}
	if err := Fault(context.DeadlineExceeded, "wait"); !place.IsTemporary(err) {
		t.Errorf("of a timeout: %v", err)
	}
}
