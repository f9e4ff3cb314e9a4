//go:build linux

// Package session tests whole sessions: the real programs, a pod, a client in it, and real debuggers.
package session

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"podstep.dev/internal/testkit/pod"
)

// Environment variables by which the test program runs itself.
const (
	roleVar = "PODSTEP_TEST_ROLE" // client or tables, in the pod
	kitVar  = "PODSTEP_TEST_KIT"  // where the first process put what it built
)

// kit is where everything is that a session needs: podstep's programs, the built debuggees and a copy of the test program
// (self). Every user can read it.
var kit string

func TestMain(m *testing.M) {
	pod.Main()
	switch os.Getenv(roleVar) {
	case "client":
		runClient()
	case "tables":
		printTables()
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	kit = os.Getenv(kitVar)
	if kit != "" {
		return m.Run()
	}
	var err error
	if kit, err = os.MkdirTemp("", "podstep-session-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(kit)
	if err := build(kit); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv(kitVar, kit); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build makes the services, for the pod and, with what a debugger needs, for the session.
func build(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"build", "-gcflags=all=-N -l", "-o", filepath.Join(dir, "shop"), "./test/debuggees/go/shop"},
		{"build", "-o", filepath.Join(dir, "stock"), "./test/debuggees/go/stock"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = root()
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %v: %w\n%s", args, err, out)
		}
	}
	for name, from := range map[string]string{
		"self": "/proc/self/exe", "podstep": root() + "/bin/podstep",
		"podstep-launch": root() + "/bin/podstep-launch", "podstep-agent": root() + "/bin/podstep-agent",
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

// root is the module's directory.
func root() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err) // the test runner starts every package in its own directory
	}
	return filepath.Join(dir, "../..")
}
