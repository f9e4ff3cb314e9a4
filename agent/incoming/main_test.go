//go:build linux

package incoming

import (
	"testing"

	"podstep.dev/agent/internal/testpod"
)

func TestMain(m *testing.M) {
	testpod.Main(m, map[string]func(){"flooded agent": floodedAgent, "flooded target": floodedTarget, "conversing agent": conversingAgent})
}
