package cgroup

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseFindsTheCallersDirectories(t *testing.T) {
	for _, tt := range []struct {
		name, own, mounts string
		want              []Hierarchy
	}{
		{
			name: "v1 in a hybrid layout, a hierarchy mounted twice",
			own:  "5:cpu,cpuacct:/jobs/7\n2:name=systemd:/\n0::/jobs\n",
			mounts: `30 20 0:25 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
32 30 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
33 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
34 30 0:28 / /elsewhere/cpu rw - cgroup cgroup rw,cpu,cpuacct
35 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
`,
			want: []Hierarchy{
				{Mount: "/sys/fs/cgroup/systemd", Options: "name=systemd", Home: "/sys/fs/cgroup/systemd", Dir: "/sys/fs/cgroup/systemd/n"},
				{Mount: "/sys/fs/cgroup/cpu,cpuacct", Options: "cpu,cpuacct", Home: "/sys/fs/cgroup/cpu,cpuacct/jobs/7", Dir: "/sys/fs/cgroup/cpu,cpuacct/jobs/7/n"},
			},
		},
		{
			name:   "v1 in a container that sees a part of the hierarchy",
			own:    "3:pids:/docker/abc/inner\n",
			mounts: "40 30 0:30 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
			want:   []Hierarchy{{Mount: "/sys/fs/cgroup/pids", Options: "pids", Home: "/sys/fs/cgroup/pids/inner", Dir: "/sys/fs/cgroup/pids/inner/n"}},
		},
		{
			name:   "v2",
			own:    "0::/user.slice/session-1.scope\n",
			mounts: "31 30 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
			want:   []Hierarchy{{Mount: "/sys/fs/cgroup", V2: true, Home: "/sys/fs/cgroup/user.slice/session-1.scope", Dir: "/sys/fs/cgroup/n"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(tt.own, tt.mounts, "n")
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestParseSaysThatNothingIsMounted(t *testing.T) {
	for _, mounts := range []string{"", "40 30 0:30 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"} {
		if hs, err := parse("3:pids:/docker/other\n", mounts, "n"); err == nil || !strings.Contains(err.Error(), "mount one at /sys/fs/cgroup") {
			t.Errorf("%+v, %v", hs, err)
		}
	}
}
