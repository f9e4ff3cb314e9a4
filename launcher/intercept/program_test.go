//go:build linux

package intercept_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program builds testdata/NAME without cgo, or dlv, and returns where it is.
func program(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv(envPrograms); dir != "" {
		return filepath.Join(dir, name)
	}
	out := filepath.Join(t.TempDir(), name)
	args := []string{"build", "-o", out, "./testdata/" + name}
	if name == "dlv" {
		args = []string{"build", "-modfile=../../test/tools/go.mod", "-o", out, "github.com/go-delve/delve/cmd/dlv"}
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, b)
	}
	return out
}
