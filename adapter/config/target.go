package config

import (
	"fmt"
	"strconv"
	"strings"

	"podstep.dev/internal/fault"
)

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

// String is the form that ParseTarget reads: "process/4242", "deployment/web/container/app", "targetless".
func (t Target) String() string {
	switch {
	case t.Kind == KindProcess:
		return t.Kind + "/" + strconv.Itoa(t.PID)
	case t.Kind == KindTargetless:
		return t.Kind
	case t.Container != "":
		return t.Kind + "/" + t.Name + "/container/" + t.Container
	}
	return t.Kind + "/" + t.Name
}

// InCluster tells a target that a kubeconfig is needed for from one of this machine.
func (t Target) InCluster() bool { return t.Kind != KindProcess }

// ParseTarget reads "process/4242", "targetless", or a workload as kubectl names it, with its container if wanted:
// "deployment/web", "sts/db/container/app", "deployment.apps/web". Its error is a *fault.Fault (BadConfig).
func ParseTarget(s string) (Target, error) {
	first, rest, found := strings.Cut(s, "/")
	switch {
	case s == "":
		return Target{}, badTarget("the target is empty; want %s", wantTarget)
	case s == KindTargetless:
		return Target{Kind: KindTargetless}, nil
	case first == KindTargetless:
		return Target{}, badTarget(`target %q: a session without a target is named by %q alone; its namespace is "namespace"`, s, KindTargetless)
	case first == KindProcess:
		return parseProcess(s, rest)
	}
	kind, known := workloadKind(first)
	switch {
	case known:
		return parseWorkload(s, kind, rest)
	case !found && isNumber(s):
		return Target{}, badTarget("target %q has no kind; did you mean process/%s?", s, s)
	case !found:
		return Target{}, badTarget("target %q has no kind; want %s", s, wantTarget)
	}
	name, _, _ := strings.Cut(first, ".")
	if near := nearest(name, kinds()); near != "" {
		return Target{}, badTarget("target %q is of the unknown kind %q; did you mean %q?", s, first, near+"/"+rest)
	}
	return Target{}, badTarget("target %q is of the unknown kind %q; known are %s", s, first, strings.Join(kinds(), ", "))
}

func parseProcess(s, rest string) (Target, error) {
	pid, err := strconv.Atoi(rest)
	if err != nil || pid < 1 || pid > maxPID || rest != strconv.Itoa(pid) {
		return Target{}, badTarget("target %q has no process id; want process/PID, for example process/4242", s)
	}
	return Target{Kind: KindProcess, PID: pid}, nil
}

// parseWorkload reads what stands behind the kind: NAME or NAME/container/CONTAINER.
func parseWorkload(s, kind, rest string) (Target, error) {
	parts := strings.Split(rest, "/")
	t := Target{Kind: kind, Name: parts[0]}
	if t.Name == "" {
		return Target{}, badTarget("target %q has no name; want %s/NAME", s, kind)
	}
	if err := checkSubdomain(t.Name); err != nil {
		return Target{}, badTarget("target %q: %v", s, err)
	}
	switch {
	case len(parts) == 1:
		return t, nil
	case len(parts) != 3 || parts[2] == "" || parts[1] != "container":
		return Target{}, badTarget("target %q: want %s/%s, or %s/%s/container/NAME for one of its containers", s, kind, t.Name, kind, t.Name)
	}
	if err := checkLabel(parts[2]); err != nil {
		return Target{}, badTarget("target %q: container %v", s, err)
	}
	t.Container = parts[2]
	return t, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

func badTarget(format string, args ...any) *fault.Fault {
	return &fault.Fault{
		ID: fault.BadConfig, What: fmt.Sprintf(format, args...),
		Hint: "Name a workload, for example deployment/web (podstep targets lists them), or the process of a container on this machine, for example process/4242.",
	}
}
