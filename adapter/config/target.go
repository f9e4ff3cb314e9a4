package config

import (
	"fmt"
	"strconv"
	"strings"

	"podstep.dev/internal/fault"
)

// KindProcess is the kind of a target that is a process on this machine.
const KindProcess = "process"

// KindTargetless is a session without a target: the network and the names of a namespace, and no incoming traffic.
const KindTargetless = "targetless"

// maxPID is the kernel's PID_MAX_LIMIT on 64 bit (include/linux/threads.h).
const maxPID = 1 << 22

// Target is what is borrowed, taken apart.
type Target struct {
	// Kind is KindProcess, KindTargetless or a kind of workload in its long form: "deployment".
	Kind string
	// PID is the process of a KindProcess target.
	PID int
	// Name is the workload's, empty for the other kinds.
	Name string
	// Container is the container's name, empty when podstep chooses it.
	Container string
}

// String is the form that ParseTarget reads.
func (t Target) String() string { return t.Kind + "/" + strconv.Itoa(t.PID) }

// ParseTarget reads "process/4242". Its error is a *fault.Fault (BadConfig). Further kinds of target are added here.
func ParseTarget(s string) (Target, error) {
	kind, rest, found := strings.Cut(s, "/")
	switch {
	case s == "":
		return Target{}, badTarget("the target is empty; want process/PID, for example process/4242")
	case kind == KindProcess:
		pid, err := strconv.Atoi(rest)
		if err != nil || pid < 1 || pid > maxPID || rest != strconv.Itoa(pid) {
			return Target{}, badTarget("target %q has no process id; want process/PID, for example process/4242", s)
		}
		return Target{Kind: KindProcess, PID: pid}, nil
	case found && isClusterKind(kind):
		return Target{}, badTarget("target %q is in a cluster; this version borrows only a process on this machine: process/PID", s)
	case !found && isNumber(s):
		return Target{}, badTarget("target %q has no kind; did you mean process/%s?", s, s)
	case !found:
		return Target{}, badTarget("target %q has no kind; want process/PID, for example process/4242", s)
	}
	text := fmt.Sprintf("target %q is of the unknown kind %q; want process/PID", s, kind)
	if near := nearest(kind, []string{KindProcess}); near != "" {
		text += fmt.Sprintf(" (did you mean %q?)", near+"/"+rest)
	}
	return Target{}, badTarget("%s", text)
}

// isClusterKind tells the kinds of workload that Kubernetes has, long or short, from a typing error.
func isClusterKind(kind string) bool {
	switch kind {
	case "pod", "po", "deployment", "deploy", "statefulset", "sts", "daemonset", "ds", "replicaset", "rs", "job", "cronjob", "service", "svc":
		return true
	}
	return false
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

func badTarget(format string, args ...any) *fault.Fault {
	return &fault.Fault{ID: fault.BadConfig, What: fmt.Sprintf(format, args...), Hint: "Give the id of a process that has a network namespace of its own, for example process/4242."}
}
