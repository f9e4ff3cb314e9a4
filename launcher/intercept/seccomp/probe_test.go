//go:build linux

package seccomp_test

import (
	"os"
	"testing"

	"podstep.dev/launcher/intercept/seccomp"
)

func TestProbeLeavesNothingBehind(t *testing.T) {
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before := count()
	for range 5 {
		if err := seccomp.Probe(); err != nil {
			t.Fatal(err)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors after the probe, %d before", after, before)
	}
}
