//go:build linux

package incoming

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"podstep.dev/agent/internal/testpod"
)

func TestMain(m *testing.M) {
	testpod.Main(func() int {
		code := m.Run()
		if err := goleak.Find(); err != nil && code == 0 {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			return 1
		}
		return code
	}, map[string]func(){})
}
