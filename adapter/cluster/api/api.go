// Package api connects to a cluster as kubectl does: the same kubeconfig, context, namespace, credentials and proxies. It
// hands out clients, counts what they ask, and turns their errors into faults that say what is missing. It knows nothing of
// targets and agents.
package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	// What kubectl has besides: the OpenID Connect credentials of a kubeconfig, and words for what was removed.
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/program"
)

// dialTimeout bounds one TCP connect to the API server: a person waits for it. net/http's own is 30 s.
const dialTimeout = 10 * time.Second

// Options say which cluster. The zero value is what kubectl takes without flags.
type Options struct {
	// Kubeconfig is the file. If empty, $KUBECONFIG (a list), then .kube/config in the home directory, then, in a pod, the
	// pod's own service account.
	Kubeconfig string
	// Context is the kubeconfig's. If empty, the current one.
	Context string
	// Namespace is what Cluster.Namespace will be. If empty, the context's, else "default".
	Namespace string
	// Log receives the cluster's lines, at debug level those of client-go and each request too. If nil, nothing is logged.
	Log *zap.Logger
}

// Cluster is a cluster with the credentials for it. It may be used by several goroutines. Its fields are not changed.
type Cluster struct {
	// Client is the typed client, Dynamic the one for any kind of object. They share one connection and have no rate limit.
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	// HTTP and Config make further clients, which are counted, too: exec needs Config. Copy Config to change it.
	HTTP   *http.Client
	Config *rest.Config
	// Namespace is the chosen one, never empty.
	Namespace string
	// Context, Name and User are the kubeconfig's words for what was chosen, for messages; User may be empty.
	Context, Name, User string

	log   *zap.Logger
	usage usage
}

// Connect reads the kubeconfig and makes the clients. Nothing is asked of the cluster yet. The caller closes it. Errors are
// *fault.Fault: NoCluster.
func Connect(o Options) (*Cluster, error) {
	log := o.Log
	if log == nil {
		log = zap.NewNop()
	}
	log = log.Named("api")
	routeKlog(log.Named("client-go"))
	loading := clientcmd.NewDefaultClientConfigLoadingRules()
	loading.ExplicitPath = o.Kubeconfig
	loading.MigrationRules = nil // they write into the user's home directory
	loading.Warner = func(err error) { log.Debug("kubeconfig", zap.Error(err)) }
	chosen := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loading, &clientcmd.ConfigOverrides{
		CurrentContext: o.Context,
		Context:        clientcmdapi.Context{Namespace: o.Namespace},
	})
	config, err := chosen.ClientConfig()
	if err != nil {
		return nil, kubeconfigFault(err, o, loading.Precedence)
	}
	c := &Cluster{log: log}
	if c.Namespace, _, err = chosen.Namespace(); err != nil {
		return nil, kubeconfigFault(err, o, loading.Precedence)
	}
	if raw, err := chosen.RawConfig(); err == nil {
		c.Context = raw.CurrentContext
		if o.Context != "" {
			c.Context = o.Context
		}
		if named := raw.Contexts[c.Context]; named != nil {
			c.Name, c.User = named.Cluster, named.AuthInfo
		}
	}
	if c.Name == "" {
		c.Name = config.Host
	}
	if err := c.makeClients(config); err != nil {
		return nil, err
	}
	return c, nil
}

// makeClients sets how requests are made and makes the clients from it.
func (c *Cluster) makeClients(config *rest.Config) error {
	config.UserAgent = "podstep/" + program.Version()
	config.QPS = -1
	config.WarningHandlerWithContext = warnings{c.log}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return c.usage.dial(ctx, dialer, network, address)
	}
	if config.ExecProvider != nil {
		config.ExecProvider.StdinUnavailable = true
		config.ExecProvider.StdinUnavailableMessage = "podstep's standard input belongs to the editor; log in with kubectl first"
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &counter{next, c} })
	var err error
	if c.HTTP, err = rest.HTTPClientFor(config); err != nil {
		return c.Fault(err, "use the kubeconfig's credentials")
	}
	c.Config = config
	if c.Dynamic, err = dynamic.NewForConfigAndClient(config, c.HTTP); err != nil {
		return c.Fault(err, "use the kubeconfig's server")
	}
	typed := rest.CopyConfig(config)
	typed.ContentType = runtime.ContentTypeProtobuf
	typed.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if c.Client, err = kubernetes.NewForConfigAndClient(typed, c.HTTP); err != nil {
		return c.Fault(err, "use the kubeconfig's server")
	}
	return nil
}

// Close drops idle connections and logs what the clients asked of the cluster.
func (c *Cluster) Close() error {
	u := c.Usage()
	if c.HTTP != nil {
		utilnet.CloseIdleConnectionsFor(c.HTTP.Transport)
	}
	if c.log != nil {
		c.log.Info("requests to the API server", zap.Int64("requests", u.Requests), zap.Int64("sent", u.Sent), zap.Int64("received", u.Received))
	}
	return nil
}

// String names the cluster for a person: the context, else the server.
func (c *Cluster) String() string {
	if c.Context != "" {
		return c.Context
	}
	return c.Name
}

// kubeconfigFault says why the kubeconfig gives no way to a cluster.
func kubeconfigFault(err error, o Options, looked []string) *fault.Fault {
	f := fault.New(fault.NoCluster, "cannot use the kubeconfig", err)
	switch {
	case o.Kubeconfig != "" && os.IsNotExist(err):
		f.What, f.Err = fmt.Sprintf("there is no kubeconfig %s", o.Kubeconfig), nil
		f.Hint = `Correct "kubeconfig" (--kubeconfig), or leave it out to use kubectl's.`
	case clientcmd.IsEmptyConfig(err):
		f.What, f.Err = "there is no kubeconfig with a current context", nil
		f.Hint = fmt.Sprintf("Looked at %s. Set KUBECONFIG, or choose a context: kubectl config use-context NAME.", strings.Join(looked, ", "))
		if o.Kubeconfig != "" {
			f.Hint = fmt.Sprintf("Looked at %s. Choose a context: kubectl config use-context NAME.", o.Kubeconfig)
		}
	case clientcmd.IsContextNotFound(err) || o.Context != "" && strings.Contains(err.Error(), "does not exist"):
		f.What, f.Err = fmt.Sprintf("the kubeconfig has no context %q", o.Context), nil
		if o.Context == "" {
			f.What, f.Err = "the kubeconfig's current context does not exist", err
		}
		f.Hint = "These exist: kubectl config get-contexts."
	}
	return f
}
