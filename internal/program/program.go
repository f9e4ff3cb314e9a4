// Package program finds podstep's own programs: beside the running one, then on PATH.
package program

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Names of the other programs.
const (
	Launcher = "podstep-launch"
	Agent    = "podstep-agent"
)

// Find returns the absolute path of the program called name.
func Find(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			path := filepath.Join(filepath.Dir(self), name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	return filepath.Abs(path)
}
