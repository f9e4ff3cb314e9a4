package node

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

const containerdSocket = "/run/containerd/containerd.sock"

// runtime starts containerd and gives it the images.
func (n *Node) runtime() error {
	if err := os.MkdirAll("/run/cni", 0o755); err != nil {
		return fmt.Errorf("configure the pods' network: %w", err)
	}
	if err := errors.Join(
		os.WriteFile("/run/cni/10-bridge.conflist", fmt.Appendf(nil, cniConfig, n.me().PodCIDR), 0o644),
		os.WriteFile("/run/containerd.toml", fmt.Appendf(nil, containerdConfig, n.Runc, n.CNI), 0o644),
	); err != nil {
		return fmt.Errorf("configure containerd: %w", err)
	}
	if err := n.start("containerd", containerdReady, "--config=/run/containerd.toml"); err != nil {
		return err
	}
	if err := until(n.ctx.Done(), patience, containerdReady); err != nil {
		return err
	}
	archives, err := n.Images()
	if err != nil {
		return err
	}
	var names []string
	for _, archive := range archives {
		if err := run(n.Import(archive)...); err != nil {
			return err
		}
		names = append(names, strings.TrimSuffix(filepath.Base(archive), ".tar"))
	}
	n.say("%s: containerd ready, with images %v", n.me().Name, names)
	return nil
}

func containerdReady() error {
	c, err := net.Dial("unix", containerdSocket)
	if err != nil {
		return fmt.Errorf("containerd is not ready: %w", err)
	}
	return c.Close()
}

// agents starts what each node runs for the control plane.
func (n *Node) agents() error {
	me, keys := n.me(), n.keys()
	if err := errors.Join(
		os.WriteFile("/run/kubelet.yaml", fmt.Appendf(nil, kubeletConfig, keys.Cert("ca"), keys.Cert(me.Name+"-server"), keys.Key(me.Name+"-server")), 0o644),
		os.WriteFile("/run/proxy.yaml", fmt.Appendf(nil, proxyConfig, n.kubeconfig("proxy"), n.ProxyMode), 0o644),
		os.WriteFile("/run/resolv.conf", []byte("# no name server but the cluster's own\n"), 0o644),
	); err != nil {
		return fmt.Errorf("configure %s: %w", me.Name, err)
	}
	return errors.Join(
		n.start("kubelet", kubeletReady, "--kubeconfig="+n.kubeconfig(me.Name), "--config=/run/kubelet.yaml",
			"--hostname-override="+me.Name, "--node-ip="+me.IP),
		n.start("kube-proxy", nil, "--config=/run/proxy.yaml", "--hostname-override="+me.Name))
}

// kubeletReady asks at the kubelet's default healthzPort.
func kubeletReady() error {
	answer, err := http.Get("http://127.0.0.1:10248/healthz")
	if err != nil {
		return fmt.Errorf("the kubelet is not ready: %w", err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the kubelet is not ready: %s", answer.Status)
	}
	return nil
}
