//go:build linux

package launcher

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"podstep.dev/internal/program"
)

// bin is a directory that every user may read, with the real podstep-launch and this test program as "adapter".
const binEnv = "PODSTEP_TEST_BIN"

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if role := os.Getenv(standInEnv); role != "" {
		return standIn(role)
	}
	dir, err := buildPrograms()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	_ = os.Setenv(binEnv, dir)
	_ = os.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	status := m.Run()
	if status == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return status
}

func buildPrograms() (string, error) {
	dir, err := os.MkdirTemp("", "podstep-launcher")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, program.Launcher), "./cmd/podstep-launch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build podstep-launch: %w\n%s", err, out)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "adapter"), self, 0o755)
}
