//go:build linux

package memory

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tree writes files below a directory of its own.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestLimitIsTheLowestThatApplies(t *testing.T) {
	const none1 = "cache 0\nhierarchical_memory_limit 9223372036854771712\n"
	for name, test := range map[string]struct {
		membership string
		files      map[string]string
		want       int
	}{
		"version 2, private namespace":        {"0::/\n", map[string]string{"sys/fs/cgroup/memory.max": "67108864\n"}, 64 << 20},
		"version 2, no limit":                 {"0::/\n", map[string]string{"sys/fs/cgroup/memory.max": "max\n"}, 0},
		"version 2, seen from the node":       {"0::/kubepods/pod1/c1\n", map[string]string{"sys/fs/cgroup/kubepods/pod1/c1/memory.max": "max\n", "sys/fs/cgroup/kubepods/pod1/memory.max": "134217728\n", "sys/fs/cgroup/kubepods/memory.max": "8589934592\n"}, 128 << 20},
		"version 2, another's namespace":      {"0::/../cri-containerd-0123.scope\n", map[string]string{"sys/fs/cgroup/memory.max": "33554432\n"}, 32 << 20},
		"version 1, the pod's limit":          {"4:memory:/kubepods/pod1/c1\n3:cpu,cpuacct:/kubepods/pod1/c1\n", map[string]string{"sys/fs/cgroup/memory/memory.stat": "cache 1\nhierarchical_memory_limit 67108864\nhierarchical_memsw_limit 9223372036854771712\n"}, 64 << 20},
		"version 1, no limit":                 {"4:memory:/x\n", map[string]string{"sys/fs/cgroup/memory/memory.stat": none1}, 0},
		"version 1, seen from the node":       {"4:memory:/a/b\n", map[string]string{"sys/fs/cgroup/memory/memory.stat": none1, "sys/fs/cgroup/memory/a/b/memory.stat": "hierarchical_memory_limit 1048576\n"}, 1 << 20},
		"both versions":                       {"4:memory:/x\n0::/\n", map[string]string{"sys/fs/cgroup/memory/memory.stat": "hierarchical_memory_limit 67108864\n", "sys/fs/cgroup/memory.max": "max\n"}, 64 << 20},
		"nothing is mounted":                  {"0::/\n4:memory:/x\n", nil, 0},
		"a path out of the mount stays in it": {"0::/../../../etc\n", map[string]string{"etc/memory.max": "5\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
	} {
		root := tree(t, test.files)
		membership := filepath.Join(tree(t, map[string]string{"cgroup": test.membership}), "cgroup")
		if got := limit(root, membership); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	if got := limit("/", filepath.Join(t.TempDir(), "missing")); got != 0 {
		t.Errorf("nobody's cgroup: %d", got)
	}
}

func TestCapIsAPartOfTheLimit(t *testing.T) {
	for limit, want := range map[int]int{0: 32 << 20, 64 << 20: 8 << 20, 16 << 20: 4 << 20, 8 << 30: 32 << 20} {
		if got := Cap(limit); got != want {
			t.Errorf("%d: %d, want %d", limit, got, want)
		}
	}
}

func TestConnectionsGrowWithTheLimit(t *testing.T) {
	const plenty = 1 << 20
	for _, test := range []struct {
		limit int
		files uint64
		want  int
	}{
		{0, plenty, 4096}, {64 << 20, plenty, 64}, {256 << 20, plenty, 256}, {1536 << 20, plenty, 1024}, {64 << 30, plenty, 4096}, {0, 1024, 128}, {0, 1, 1},
	} {
		if got := Connections(test.limit, test.files); got != test.want {
			t.Errorf("limit %d, %d files: %d, want %d", test.limit, test.files, got, test.want)
		}
	}
}

func TestSacrificeIsSeenByTheKernel(t *testing.T) {
	if os.Getenv("PODSTEP_TEST_SACRIFICE") != "" {
		if err := Sacrifice(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile("/proc/self/oom_score_adj")
		if err != nil || strings.TrimSpace(string(text)) != "1000" {
			t.Errorf("%q, %v", text, err)
		}
		return
	}
	// In a process of its own: it cannot be taken back.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestSacrificeIsSeenByTheKernel$")
	cmd.Env = append(os.Environ(), "PODSTEP_TEST_SACRIFICE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
