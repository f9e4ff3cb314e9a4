//go:build linux

// Package session tests whole sessions: the real programs, a pod, a client in it, and real debuggers.
package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/pod"
)

// Environment variables by which the test program runs itself.
const (
	roleVar = "PODSTEP_TEST_ROLE" // client, regular (on one connection), ask, secure or tables, in the pod
	kitVar  = "PODSTEP_TEST_KIT"  // where the first process put what it built
)

// kit is where everything is that a session needs: podstep's programs, the built debuggees and a copy of the test program
// (self). Every user can read it.
var kit string

func TestMain(m *testing.M) {
	pod.Main()
	switch os.Getenv(roleVar) {
	case "client":
		runClient(false)
	case "regular":
		runClient(true)
	case "ask":
		runAsk()
	case "secure":
		runSecure()
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
	err = desk.BuildKit(root(), kit)
	for _, service := range []string{"till", "table"} {
		err = errors.Join(err, desk.Build(root(), filepath.Join(kit, service), "./test/debuggees/go/"+service, "-gcflags=all=-N -l"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv(kitVar, kit); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// root is the module's directory.
func root() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err) // the test runner starts every package in its own directory
	}
	return filepath.Join(dir, "../..")
}
