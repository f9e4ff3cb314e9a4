//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"podstep.dev/internal/testkit/desk"
)

// testImage is the image of the shop, the stock and the visitor.
const testImage = "podstep.dev/e2e:test"

// fixture is a cluster and what every test uses in it.
type fixture struct {
	kit     string // see desk.BuildKit; with the visitor
	version string // podstep's

	config  *rest.Config
	client  *kubernetes.Clientset
	dynamic *dynamic.DynamicClient
	admin   clientcmdapi.Config // one context, nothing in other files

	nodes     []string
	namespace string            // where the watchers are
	watchers  map[string]string // node to a privileged pod on it
}

// open builds the programs, loads the images with the command and starts a watcher on each node. Whether it fails or not, the
// caller closes.
func (f *fixture) open(ctx context.Context, load string) (err error) {
	if f.kit, err = os.MkdirTemp("", "podstep-e2e-"); err != nil {
		return err
	}
	if err := desk.BuildKit(root(), f.kit); err != nil {
		return err
	}
	if err := desk.Build(root(), filepath.Join(f.kit, "visitor"), "./test/e2e/visitor"); err != nil {
		return err
	}
	if err := f.connect(); err != nil {
		return err
	}
	if err := f.loadImages(ctx, load); err != nil {
		return err
	}
	return f.startWatchers(ctx)
}

// connect reads the kubeconfig as kubectl does.
func (f *fixture) connect() error {
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	raw, err := loader.RawConfig()
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	if err := errors.Join(clientcmdapi.MinifyConfig(&raw), clientcmdapi.FlattenConfig(&raw)); err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	f.admin = raw
	if f.config, err = loader.ClientConfig(); err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	f.config.QPS = -1
	if f.client, err = kubernetes.NewForConfig(f.config); err != nil {
		return err
	}
	f.dynamic, err = dynamic.NewForConfig(f.config)
	return err
}

// kubeconfig is the cluster's for somebody: the administrator unless change makes it another user. The namespace is that of
// the context, as a person would have it.
func (f *fixture) kubeconfig(namespace string, change func(*clientcmdapi.AuthInfo)) ([]byte, error) {
	c := f.admin.DeepCopy()
	c.Contexts[c.CurrentContext].Namespace = namespace
	if change != nil {
		user := clientcmdapi.NewAuthInfo()
		change(user)
		c.AuthInfos[c.Contexts[c.CurrentContext].AuthInfo] = user
	}
	return clientcmd.Write(*c)
}

// loadImages makes the tests' image and loads it, and the agent's that make image made, into every node.
func (f *fixture) loadImages(ctx context.Context, load string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(f.kit, "podstep"), "version", "-o", "json").Output()
	if err != nil {
		return fmt.Errorf("ask podstep for its version: %w", err)
	}
	var version struct{ Version string }
	if err := json.Unmarshal(out, &version); err != nil {
		return err
	}
	f.version = version.Version
	files := filepath.Join(f.kit, "e2e.tar")
	image := exec.CommandContext(ctx, "go", "run", "-C", filepath.Join(root(), "agent/image"), ".", "-o", files, "-ref", testImage, "-plain")
	for _, program := range []string{"shop", "stock", "visitor"} {
		image.Args = append(image.Args, "/"+program+"="+filepath.Join(f.kit, program))
	}
	if out, err := image.CombinedOutput(); err != nil {
		return fmt.Errorf("make %s: %w\n%s", testImage, err, out)
	}
	for _, file := range []string{filepath.Join(root(), "build/podstep-agent.tar"), files} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%w (make image makes it)", err)
		}
		command := append(strings.Fields(load), file)
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("load by %q: %w\n%s", command, err, out)
		}
	}
	return nil
}

// startWatchers starts a pod on each node that may look at everything on it, and waits for them.
func (f *fixture) startWatchers(ctx context.Context) error {
	nodes, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the nodes: %w", err)
	}
	ns, err := f.client.CoreV1().Namespaces().Create(ctx, newNamespace("e2e-watchers-", nil), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	f.namespace = ns.Name
	for _, node := range nodes.Items {
		privileged := true
		pod := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "watcher-"},
			Spec: corev1.PodSpec{
				NodeName: node.Name, HostPID: true, TerminationGracePeriodSeconds: new(int64),
				Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
				Containers: []corev1.Container{{
					Name: "watcher", Image: testImage, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/visitor", "wait"},
					SecurityContext: &corev1.SecurityContext{Privileged: &privileged},
				}},
			},
		}
		made, err := f.client.CoreV1().Pods(f.namespace).Create(ctx, &pod, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		f.nodes, f.watchers[node.Name] = append(f.nodes, node.Name), made.Name
	}
	for _, name := range f.watchers {
		if err := f.running(ctx, f.namespace, name); err != nil {
			return err
		}
	}
	return nil
}

// running waits until a pod is ready.
func (f *fixture) running(ctx context.Context, namespace, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		pod, err := f.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && isReady(pod) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("pod %s is not ready: %v %+v", name, err, pod.Status.ContainerStatuses)
		case <-time.After(pace):
		}
	}
}

// close removes what the fixture made; it says on standard error what it cannot remove.
func (f *fixture) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if f.namespace != "" {
		if err := f.client.CoreV1().Namespaces().Delete(ctx, f.namespace, metav1.DeleteOptions{}); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
		}
	}
	if err := os.RemoveAll(f.kit); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
}

func newNamespace(prefix string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix, Labels: labels}}
}
