package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"podstep.dev/internal/fault"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// write makes a file of the test's own.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// kubeconfig has one context, called after the server and the user's words.
func kubeconfig(context, server, user string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: %[1]s,
  contexts: [{name: %[1]s, context: {cluster: %[1]s-cluster, user: %[1]s-user, namespace: %[1]s-ns}}],
  clusters: [{name: %[1]s-cluster, cluster: {server: %[2]q, insecure-skip-tls-verify: true}}],
  users: [{name: %[1]s-user, user: %[3]s}]}`, context, server, user)
}

func TestConnectChoosesAsKubectlDoes(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	first := write(t, "first", kubeconfig("one", "https://one.invalid", "{}"))
	second := write(t, "second", kubeconfig("two", "https://two.invalid", "{}"))
	bare := write(t, "bare", "{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: c}}], clusters: [{name: c, cluster: {server: 'https://x.invalid'}}]}")
	for name, test := range map[string]struct {
		env     string
		options Options
		want    string // host, context, cluster, user, namespace
	}{
		"the environment's":        {first, Options{}, "https://one.invalid one one-cluster one-user one-ns"},
		"a list":                   {first + ":" + second, Options{Context: "two"}, "https://two.invalid two two-cluster two-user two-ns"},
		"a list with a gap":        {"/none:" + second, Options{}, "https://two.invalid two two-cluster two-user two-ns"},
		"a file":                   {first, Options{Kubeconfig: second}, "https://two.invalid two two-cluster two-user two-ns"},
		"a namespace":              {first, Options{Namespace: "shop"}, "https://one.invalid one one-cluster one-user shop"},
		"no namespace and no user": {bare, Options{}, "https://x.invalid x c  default"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", test.env)
			c, err := Connect(test.options)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := strings.Join([]string{c.Config.Host, c.Context, c.Name, c.User, c.Namespace}, " "); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestConnectSaysWhatIsWrongWithTheKubeconfig(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	good := write(t, "good", kubeconfig("one", "https://one.invalid", "{}"))
	stale := write(t, "stale", strings.Replace(kubeconfig("one", "https://one.invalid", "{}"), "current-context: one", "current-context: gone", 1))
	for name, test := range map[string]struct {
		env        string
		options    Options
		what, hint string
	}{
		"there is none":      {"", Options{}, "there is no kubeconfig with a current context", ".kube/config. Set KUBECONFIG"},
		"no such file":       {good, Options{Kubeconfig: "/none"}, "there is no kubeconfig /none", "--kubeconfig"},
		"no such context":    {good, Options{Context: "two"}, `the kubeconfig has no context "two"`, "kubectl config get-contexts"},
		"a stale context":    {stale, Options{}, "the kubeconfig's current context does not exist", "kubectl config get-contexts"},
		"unreadable":         {write(t, "bad", "{nonsense"), Options{}, "cannot use the kubeconfig", "kubectl get pods"},
		"a missing key file": {write(t, "key", kubeconfig("one", "https://one.invalid", "{client-certificate: /none, client-key: /none}")), Options{}, "cannot use the kubeconfig", "kubectl get pods"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", test.env)
			c, err := Connect(test.options)
			var f *fault.Fault
			if !errors.As(err, &f) || f.ID != fault.NoCluster || !strings.Contains(f.What, test.what) || !strings.Contains(f.Advice(), test.hint) || c != nil {
				t.Errorf("%v, %v; want a fault %q with the hint %q", c, err, test.what, test.hint)
			}
		})
	}
}

// apiServer is a server that a kubeconfig leads to.
func apiServer(t *testing.T, serve http.HandlerFunc) (s *httptest.Server, connect func(user string, log *zap.Logger) *Cluster) {
	t.Helper()
	s = httptest.NewTLSServer(serve)
	t.Cleanup(s.Close)
	return s, func(user string, log *zap.Logger) *Cluster {
		t.Helper()
		c, err := Connect(Options{Kubeconfig: write(t, "kubeconfig", kubeconfig("lab", s.URL, user)), Log: log})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func TestRequestsAreNamedCountedAndNotHeldBack(t *testing.T) {
	var served atomic.Int64
	_, connect := apiServer(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if agent := r.Header.Get("User-Agent"); !strings.HasPrefix(agent, "podstep/") {
			t.Errorf("User-Agent %q", agent)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer s3cret" {
			t.Errorf("Authorization %q", got)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Warning", `299 - "would violate PodSecurity"`)
		fmt.Fprint(w, `{"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}`)
	})
	core, logs := observer.New(zap.DebugLevel)
	c := connect("{token: s3cret}", zap.New(core))
	// The default of client-go, 5 a second after the first ten, would take 18 s.
	const n = 100
	for range n {
		if _, err := c.Client.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	u := c.Usage()
	if u.Requests != n || served.Load() != n || u.Sent < n*20 || u.Received < n*80 {
		t.Errorf("%+v were counted, %d were served", u, served.Load())
	}
	_ = c.Close()
	for _, want := range []string{"request", "warning of the API server", "requests to the API server"} {
		if logs.FilterMessage(want).Len() == 0 {
			t.Errorf("nothing is logged as %q", want)
		}
	}
	for _, line := range logs.All() {
		if text, _ := json.Marshal(line.ContextMap()); strings.Contains(string(text), "s3cret") {
			t.Errorf("the token is logged: %s", text)
		}
	}
}

func TestCredentialPluginsRunWithoutTheKeyboard(t *testing.T) {
	var token atomic.Value
	_, connect := apiServer(t, func(w http.ResponseWriter, r *http.Request) {
		token.Store(r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"kind": "PodList", "apiVersion": "v1", "items": []}`)
	})
	plugin := func(mode, script string) string {
		path := write(t, "plugin", "#!/bin/sh\n"+script)
		if err := os.Chmod(path, 0o700); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("{exec: {apiVersion: client.authentication.k8s.io/v1, command: %q, interactiveMode: %s}}", path, mode)
	}
	const answer = `read -r line || line=nothing; echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-'$line'"}}'`
	list := func(c *Cluster) error {
		_, err := c.Client.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
		return c.Fault(err, "list the pods")
	}
	if err := list(connect(plugin("IfAvailable", answer), nil)); err != nil || token.Load() != "Bearer from-nothing" {
		t.Errorf("%v, the token is %v", err, token.Load())
	}
	for user, want := range map[string]string{
		plugin("Always", answer):  "wants to ask something",
		plugin("Never", "exit 3"): "the kubeconfig's credential plugin failed",
		"{exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin, interactiveMode: Never}}": "is not installed",
	} {
		var f *fault.Fault
		if err := list(connect(user, nil)); !errors.As(err, &f) || f.ID != fault.NoCluster || !strings.Contains(f.What, want) {
			t.Errorf("fault %v, want one with %q", err, want)
		}
	}
}

func TestClientGoSaysNothingByItself(t *testing.T) {
	_, connect := apiServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	connect("{}", nil)
	var said strings.Builder
	klog.LogToStderr(false)
	klog.SetOutput(&said)
	klog.Error("an expected end")
	klog.Background().Error(errors.New("expected"), "another")
	klog.Flush()
	if said.Len() > 0 {
		t.Errorf("klog writes %q", said.String())
	}
}

func TestClientGosErrorsAreDebugLines(t *testing.T) {
	for level, want := range map[zapcore.Level]int{zap.DebugLevel: 2, zap.InfoLevel: 0} {
		core, logs := observer.New(level)
		log := zap.New(demote{core}).With(zap.String("a", "b"))
		log.Error("ended as expected")
		log.Info("started")
		log.Log(-4, "of no interest")
		if logs.Len() != want {
			t.Errorf("at level %v: %v", level, logs.All())
		}
		for _, line := range logs.All() {
			if line.Level != zap.DebugLevel || line.ContextMap()["a"] != "b" {
				t.Errorf("the line is %+v", line)
			}
		}
	}
}
