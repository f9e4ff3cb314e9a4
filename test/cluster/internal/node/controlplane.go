package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"podstep.dev/test/cluster/internal/pki"
)

const (
	apiPort   = "6443"
	serviceIP = "10.96.0.1" // of the service "kubernetes": the first one of the range
)

// controllers are those that tests need: each one left out is one less to start.
const controllers = "deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,job-controller,cronjob-controller," +
	"endpoints-controller,endpointslice-controller,namespace-controller,garbage-collector-controller,pod-garbage-collector-controller," +
	"serviceaccount-controller,serviceaccount-token-controller,root-ca-certificate-publisher-controller,clusterrole-aggregation-controller," +
	"node-lifecycle-controller,taint-eviction-controller,ttl-after-finished-controller,ephemeral-volume-controller"

// controlPlane starts etcd, the API server and everything else of the first node, and the further nodes; it returns when pods can be
// made and found.
func (n *Node) controlPlane() error {
	a, err := n.issue()
	if err != nil {
		return err
	}
	if err := n.startAPI(a); err != nil {
		return err
	}
	imported := make(chan error, 1)
	go func() { imported <- n.runtime() }() // at the same time, because each takes seconds
	api, err := n.client()
	if err != nil {
		return err
	}
	if err := until(n.ctx.Done(), patience, api.ready); err != nil {
		return err
	}
	n.say("API server ready")
	if err := errors.Join(n.agents(), n.startControllers(a)); err != nil {
		return err
	}
	if err := api.apply(n.ctx, coreDNS); err != nil {
		return err
	}
	if err := <-imported; err != nil {
		return err
	}
	for i := 1; i < len(n.Nodes); i++ {
		if err := n.addNode(i); err != nil {
			return err
		}
	}
	return until(n.ctx.Done(), patience, func() error { return api.usable(n.ctx, len(n.Nodes)) })
}

// issue makes all keys, certificates and kubeconfig files.
func (n *Node) issue() (*pki.Authority, error) {
	a, err := pki.New(filepath.Join(n.State, "pki"))
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(n.Door)
	if err != nil {
		return nil, fmt.Errorf("issue certificates: %w", err)
	}
	inside := "https://" + net.JoinHostPort(n.me().IP, apiPort)
	errs := []error{
		a.Server("apiserver", host, "127.0.0.1", n.me().IP, serviceIP, "localhost",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"),
		a.Client("service-accounts", "service-accounts"), // its key signs their tokens
		a.Client("apiserver-kubelet", "kube-apiserver", "system:masters"),
		a.Client("admin", "admin", "system:masters"),
		a.Client("scheduler", "system:kube-scheduler"),
		a.Client("proxy", "system:kube-proxy"),
		a.Kubeconfig(filepath.Join(n.State, "kubeconfig"), "admin", "https://"+n.Door),
		a.Kubeconfig(n.kubeconfig("admin"), "admin", inside),
		a.Kubeconfig(n.kubeconfig("scheduler"), "scheduler", inside),
		a.Kubeconfig(n.kubeconfig("proxy"), "proxy", inside),
	}
	for _, m := range n.Nodes {
		errs = append(errs,
			a.Server(m.Name+"-server", m.IP, m.Name),
			a.Client(m.Name, "system:node:"+m.Name, "system:nodes"),
			a.Kubeconfig(n.kubeconfig(m.Name), m.Name, inside))
	}
	return a, errors.Join(errs...)
}

// kubeconfig is the file, for the cluster's own programs, with which they are known as name.
func (n *Node) kubeconfig(name string) string {
	return filepath.Join(n.State, "pki", name+".kubeconfig")
}

func (n *Node) startAPI(a *pki.Authority) error {
	if err := n.start("etcd", nil, "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380"); err != nil {
		return err
	}
	ready := func() error {
		api, err := n.client()
		if err != nil {
			return err
		}
		return api.ready()
	}
	return n.start("kube-apiserver", ready,
		"--etcd-servers=http://127.0.0.1:2379", "--secure-port="+apiPort, "--bind-address=0.0.0.0",
		"--advertise-address="+n.me().IP, "--service-cluster-ip-range=10.96.0.0/16",
		"--allow-privileged=true", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--client-ca-file="+a.Cert("ca"), "--tls-cert-file="+a.Cert("apiserver"), "--tls-private-key-file="+a.Key("apiserver"),
		"--kubelet-certificate-authority="+a.Cert("ca"),
		"--kubelet-client-certificate="+a.Cert("apiserver-kubelet"), "--kubelet-client-key="+a.Key("apiserver-kubelet"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+a.Cert("service-accounts"), "--service-account-signing-key-file="+a.Key("service-accounts"))
}

func (n *Node) startControllers(a *pki.Authority) error {
	return errors.Join(
		n.start("kube-controller-manager", nil, "--kubeconfig="+n.kubeconfig("admin"), "--leader-elect=false",
			"--kube-api-qps=1000", "--kube-api-burst=1000", // it makes 50 service accounts first, and CoreDNS waits for them
			"--controllers="+controllers,
			"--service-account-private-key-file="+a.Key("service-accounts"), "--root-ca-file="+a.Cert("ca"),
			"--cluster-signing-cert-file="+a.Cert("ca"), "--cluster-signing-key-file="+a.Key("ca"), "--secure-port=0"),
		n.start("kube-scheduler", nil, "--kubeconfig="+n.kubeconfig("scheduler"), "--leader-elect=false", "--secure-port=0"))
}

// ready tells by an error that the API server does not serve, or not yet.
func (a *api) ready() error {
	if err := a.Discovery().RESTClient().Get().AbsPath("/readyz").Do(context.Background()).Error(); err != nil {
		return fmt.Errorf("the API server is not ready: %w", err)
	}
	return nil
}
