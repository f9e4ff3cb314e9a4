// Command up runs a whole Kubernetes cluster on this machine, inside namespaces of its own: its processes, mounts, addresses, packet
// filter rules and pods are gone as soon as it ends, however it ends. Several clusters can be up at once. It needs root.
//
//	up run -state DIR -bin DIR [-nodes N] [CMD [ARG...]]
//	    runs until CMD ends, or without CMD until SIGINT or SIGTERM. CMD finds the cluster by $KUBECONFIG, and up's own commands for it
//	    by $PODSTEP_E2E_LOAD, $PODSTEP_E2E_FAULT and $PODSTEP_E2E_EXEC; its exit status is up's. DIR is emptied first
//	up load -state DIR IMAGE.tar...
//	    gives every node the images of OCI archives
//	up exec -state DIR [-node NAME] CMD [ARG...]
//	    runs a command inside a node
//	up fault -state DIR [-node NAME] FAULT
//	    does one of these to the running cluster:
//	    restart PART [PAUSE]  ends a program of the node (kube-apiserver, kubelet, containerd...), starts it again after PAUSE, and returns
//	                          when it is ready
//	    freeze TIME           nothing passes between the outside and the API server for TIME, and nothing is closed: a laptop asleep
//	    cut TIME              all connections to the API server from outside are reset, and new ones too for TIME
//	    lose                  the connections of this moment become silent for good; new ones pass
//	    restore               ends freeze and cut before their time
//	up check
//	    says what the machine lacks
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"podstep.dev/test/cluster/internal/node"
)

func main() {
	runtime.LockOSThread() // a node's life is bound to the thread that starts it
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: up run|load|exec|fault|check ...; see \"go doc ./test/cluster/up\"")
		os.Exit(2)
	}
	status, err := dispatch(context.Background(), os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		status = 1
	}
	os.Exit(status)
}

func dispatch(ctx context.Context, command string, args []string) (status int, err error) {
	switch command {
	case "run":
		return run(ctx, args)
	case "load":
		return 0, load(args)
	case "exec":
		return 0, enter(args)
	case "fault":
		return 0, fault(ctx, args)
	case "check":
		return 0, check()
	case "init", "node": // what up starts itself as
		c, err := node.Read(args[0], args[1])
		if err != nil {
			return 0, err
		}
		if command == "init" {
			return 0, node.Init(c)
		}
		return 0, node.Run(ctx, c)
	}
	return 0, fmt.Errorf("unknown command %q", command)
}
