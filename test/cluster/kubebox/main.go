// Command kubebox is every program of a node and of the control plane in one binary, so that they are linked once and share their
// text in memory. It acts as the program named by its first argument.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	containerd "github.com/containerd/containerd/v2/cmd/containerd/command"
	ctr "github.com/containerd/containerd/v2/cmd/ctr/app"

	etcd "go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	programs := programs()
	if len(os.Args) > 1 {
		if program := programs[os.Args[1]]; program != nil {
			os.Args = os.Args[1:]
			os.Exit(program())
		}
	}
	fmt.Fprintf(os.Stderr, "usage: kubebox PROGRAM [ARG...], with PROGRAM one of %v\n", slices.Sorted(maps.Keys(programs)))
	os.Exit(2)
}

// programs are those inside, each returning its exit status. They read os.Args.
func programs() map[string]func() int {
	kube := func(command func() *cobra.Command) func() int {
		return func() int { return cli.Run(command()) }
	}
	return map[string]func() int{
		"etcd":                    func() int { etcd.Main(os.Args); return 0 },
		"kube-apiserver":          kube(apiserver.NewAPIServerCommand),
		"kube-controller-manager": kube(controllers.NewControllerManagerCommand),
		"kube-scheduler":          kube(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
		"kubelet":                 kube(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
		"kube-proxy":              kube(proxy.NewProxyCommand),
		"containerd":              func() int { return status("containerd", containerd.App().Run(context.Background(), os.Args)) },
		"ctr":                     func() int { return status("ctr", ctr.New().Run(context.Background(), os.Args)) },
	}
}

func status(name string, err error) int {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}
