package capture

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"podstep.dev/internal/testkit"
)

func TestMain(m *testing.M) {
	if status, inside := testkit.Isolate(); !inside {
		os.Exit(status)
	}
	goleak.VerifyTestMain(m)
}
