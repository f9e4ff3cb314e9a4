//go:build linux

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"podstep.dev/agent/internal/testpod"
)

// inContainer runs a program with a child in a cgroup as a container runtime names it, until the test ends. The
// network and host name are the test's own.
func inContainer(t *testing.T, id string) *exec.Cmd {
	t.Helper()
	if testpod.Ordinary() {
		t.Skip("needs root: cgroups are not an ordinary user's to make")
	}
	group := newCgroup(t, "cri-containerd-"+id+".scope")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "read line; sleep 600 & exec sleep 600")
	cmd.Env = append(os.Environ(), "PODSTEP_TEST_VALUE=from the container")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		emptyCgroup(t, group)
	})
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	// Its child is of the container only when it begins after that.
	if _, err := stdin.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	testpod.Eventually(t, "two processes in the container", func() bool { return len(processes(t, group)) == 2 })
	return cmd
}

// newCgroup makes a cgroup of any hierarchy below the test's own.
func newCgroup(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		for _, mount := range []string{"/sys/fs/cgroup/" + strings.TrimPrefix(controllers, "name="), "/sys/fs/cgroup/unified"} {
			if _, err := os.Stat(filepath.Join(mount, "cgroup.procs")); err != nil {
				continue
			}
			dir := filepath.Join(mount, path, name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			return dir
		}
	}
	t.Fatalf("no cgroup can be made: %v", failed)
	return ""
}

func processes(t *testing.T, group string) []int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func emptyCgroup(t *testing.T, group string) {
	t.Helper()
	testpod.Eventually(t, "the container's cgroup is removed", func() bool {
		for _, pid := range processes(t, group) {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill()
			}
		}
		return os.Remove(group) == nil
	})
}
