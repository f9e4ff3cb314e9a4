//go:build linux

package target

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fakeProc writes a /proc with processes: number, parent, start and cgroup each.
func fakeProc(t *testing.T, processes ...process) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range processes {
		state := "S"
		if p.zombie {
			state = "Z"
		}
		fields := []string{state, fmt.Sprint(p.parent)}
		for len(fields) < 50 {
			fields = append(fields, "0")
		}
		fields[fieldStart] = fmt.Sprint(p.start)
		write(t, filepath.Join(dir, fmt.Sprint(p.pid), "stat"), fmt.Sprintf("%d (a ) b) %s\n", p.pid, strings.Join(fields, " ")))
		write(t, filepath.Join(dir, fmt.Sprint(p.pid), "cgroup"), p.cgroup)
	}
	write(t, filepath.Join(dir, "self/cgroup"), "")
	return dir
}

type process struct {
	pid, parent, start int
	cgroup             string
	zombie             bool
}

func TestContainerIsFoundByItsCgroup(t *testing.T) {
	id, other := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	for name, test := range map[string]struct {
		processes []process
		want      int
	}{
		"version 1": {[]process{
			{pid: 10, parent: 1, cgroup: "4:memory:/kubepods/besteffort/pod1/shim\n"},
			{pid: 11, parent: 10, start: 5, cgroup: "4:memory:/kubepods/besteffort/pod1/" + id + "\n0::/\n"},
			{pid: 12, parent: 11, start: 6, cgroup: "4:memory:/kubepods/besteffort/pod1/" + id + "\n0::/\n"},
			{pid: 20, parent: 10, start: 1, cgroup: "4:memory:/kubepods/besteffort/pod1/" + other + "\n"},
		}, 11},
		"version 2, systemd, from another cgroup namespace": {[]process{
			{pid: 1, start: 3, cgroup: "0::/../cri-containerd-" + id + ".scope\n"},
			{pid: 7, start: 4, cgroup: "0::/\n"},
		}, 1},
		"CRI-O, a cgroup below the container's": {[]process{
			{pid: 5, parent: 4, start: 3, cgroup: "0::/kubepods.slice/crio-" + id + ".scope/container\n"},
			{pid: 4, parent: 1, cgroup: "0::/kubepods.slice/crio-conmon-" + other + ".scope\n"},
		}, 5},
		"shared process namespace, with a program that was started later": {[]process{
			{pid: 1, start: 1, cgroup: "0::/../" + other + "\n"},
			{pid: 3, start: 9, cgroup: "0::/../" + id + "\n"},
			{pid: 17, start: 2, cgroup: "0::/../" + id + "\n"},
		}, 17},
		"a process that has ended": {[]process{
			{pid: 3, start: 1, cgroup: "0::/" + id + "\n", zombie: true},
			{pid: 4, start: 2, cgroup: "0::/" + id + "\n"},
		}, 4},
	} {
		proc := fakeProc(t, test.processes...)
		for _, written := range []string{id, "containerd://" + id} {
			if got, err := find(proc, written); err != nil || got != test.want {
				t.Errorf("%s: %d, %v; want %d", name, got, err, test.want)
			}
		}
	}
}

func TestContainerThatIsNotSeenIsESRCH(t *testing.T) {
	proc := fakeProc(t, process{pid: 1, cgroup: "0::/\n"})
	if _, err := find(proc, strings.Repeat("ab", 32)); !errors.Is(err, syscall.ESRCH) || !strings.Contains(err.Error(), "no process of it is seen here") {
		t.Errorf("told %v", err)
	}
	for _, id := range []string{"", "0", "containerd://", "../../etc", strings.Repeat("x", 40) + " "} {
		if _, err := find(proc, id); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestOwnTargetHasNoEnvironment(t *testing.T) {
	target, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = target.Close() }()
	d, err := target.Describe(true)
	if err != nil || d.Hostname != "web-0" || len(d.Environment) != 0 || d.ResolvConf == "" {
		t.Errorf("hostname %q, %d variables, %d bytes of resolv.conf, %v", d.Hostname, len(d.Environment), len(d.ResolvConf), err)
	}
	select {
	case <-target.Exited():
		t.Error("it has ended")
	default:
	}
}
