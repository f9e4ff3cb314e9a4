//go:build linux

package traffic

import (
	"os"
	"testing"

	"podstep.dev/internal/testkit"
)

func TestMain(m *testing.M) {
	status, inside := testkit.Isolate()
	if inside {
		status = m.Run()
	}
	os.Exit(status)
}
