package config

import "strings"

// Kinds of targets.
const (
	// KindProcess is a process on this machine.
	KindProcess = "process"
	// KindTargetless is a session without a target: the network and the names of a namespace, and no incoming traffic.
	KindTargetless = "targetless"

	KindPod         = "pod"
	KindDeployment  = "deployment"
	KindStatefulSet = "statefulset"
	KindDaemonSet   = "daemonset"
	KindReplicaSet  = "replicaset"
	KindJob         = "job"
	KindCronJob     = "cronjob"
	KindService     = "service"
	KindRollout     = "rollout"
)

// wantTarget is what a target looks like, for a message.
const wantTarget = "KIND/NAME, for example deployment/web, or process/PID"

// workload is a kind of the cluster as kubectl takes it: "deployment", "deployments", "deploy", "deployment.apps".
type workload struct{ kind, short, group string }

func workloads() []workload {
	return []workload{
		{KindPod, "po", ""},
		{KindDeployment, "deploy", "apps"},
		{KindStatefulSet, "sts", "apps"},
		{KindDaemonSet, "ds", "apps"},
		{KindReplicaSet, "rs", "apps"},
		{KindJob, "", "batch"},
		{KindCronJob, "cj", "batch"},
		{KindService, "svc", ""},
		{KindRollout, "ro", "argoproj.io"},
	}
}

// workloadKind returns the long form of a kind of workload.
func workloadKind(s string) (kind string, known bool) {
	name, group, grouped := strings.Cut(s, ".")
	for _, w := range workloads() {
		if (name == w.kind || name == w.kind+"s" || name == w.short && name != "") && (!grouped || group == w.group && group != "") {
			return w.kind, true
		}
	}
	return "", false
}

// kinds lists those that have a name or an id behind them.
func kinds() []string {
	var all []string
	for _, w := range workloads() {
		all = append(all, w.kind)
	}
	return append(all, KindProcess)
}
