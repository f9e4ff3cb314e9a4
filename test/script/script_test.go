//go:build linux

// Package script runs whole programs as a person would: testdata/*.txtar are scripts whose first line says why they exist. See
// "go doc github.com/rogpeppe/go-internal/testscript" for their language.
package script

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"podstep.dev/internal/testkit/pod"
)

func TestMain(m *testing.M) {
	pod.Main()
	os.Exit(run(m))
}

// run builds the three programs and puts them in front of PATH, so that nobody tests yesterday's.
func run(m *testing.M) int {
	bin, err := os.MkdirTemp("", "podstep-script-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-X podstep.dev/internal/program.release=0.0.0-test", "-o", bin+"/",
		"podstep.dev/adapter/cmd/podstep", "podstep.dev/launcher/cmd/podstep-launch", "podstep.dev/agent/cmd/podstep-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the programs:", err)
		return 1
	}
	if err := os.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[podKey{}] = &scriptPod{}
			env.Setenv("XDG_RUNTIME_DIR", filepath.Join(env.WorkDir, "run"))
			return os.Mkdir(filepath.Join(env.WorkDir, "run"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"pod": startPod, "inpod": inPod},
		Condition: func(condition string) (bool, error) {
			if condition == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", condition)
		},
	})
}
