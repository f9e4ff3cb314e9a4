package desk

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BuildKit puts into dir, which every user can then read, podstep's programs as "make build" has made them, the services of
// test/debuggees/go (shop as a debugger wants it, both static) and the calling program as "self". root is the module's
// directory.
func BuildKit(root, dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for name, flags := range map[string][]string{"shop": {"-gcflags=all=-N -l"}, "stock": nil} {
		if err := Build(root, filepath.Join(dir, name), "./test/debuggees/go/"+name, flags...); err != nil {
			return err
		}
	}
	for name, from := range map[string]string{
		"self": "/proc/self/exe", "podstep": root + "/bin/podstep",
		"podstep-launch": root + "/bin/podstep-launch", "podstep-agent": root + "/bin/podstep-agent",
	} {
		program, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("%w (make build makes the programs)", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), program, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Build builds the static program of a package of the module at root.
func Build(root, path, pkg string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// LineOf returns the line of file that contains text.
func LineOf(t testing.TB, file, text string) int {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(source), "\n") {
		if strings.Contains(line, text) {
			return i + 1
		}
	}
	t.Fatalf("%s has no line with %q", file, text)
	return 0
}
