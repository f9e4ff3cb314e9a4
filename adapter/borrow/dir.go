package borrow

import (
	"fmt"
	"os"
	"path/filepath"
)

// makeDir makes the session's directory: 0700, below the user's runtime directory or, where there is none, below a
// directory of the user's own in the system's temporary one. The caller removes it.
func makeDir() (string, error) {
	parent := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "podstep")
	if os.Getenv("XDG_RUNTIME_DIR") == "" || os.MkdirAll(parent, 0o700) != nil {
		parent = filepath.Join(os.TempDir(), fmt.Sprintf("podstep-%d", os.Getuid()))
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return "", fmt.Errorf("make session directory: %w", err)
		}
	}
	if err := own(parent); err != nil {
		return "", fmt.Errorf("make session directory: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return "", fmt.Errorf("make session directory: %w", err)
	}
	return dir, nil
}
