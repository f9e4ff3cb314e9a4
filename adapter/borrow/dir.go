package borrow

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// makeDir makes the session's directory: 0700, below the user's runtime directory or, where there is none, below a
// directory of the user's own in the system's temporary one. The caller removes it.
func makeDir() (string, error) {
	parent := runtimeParent()
	if parent == "" || os.MkdirAll(parent, 0o700) != nil {
		parent = temporaryParent()
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

// Dirs lists the directories of this user's sessions on this machine. A session that was killed may have left one.
func Dirs() (dirs []string) {
	runtime := runtimeParent()
	if runtime == "" { // the editor may have had it, where systemd puts it
		runtime = filepath.Join("/run/user", strconv.Itoa(os.Getuid()), "podstep")
	}
	for _, parent := range []string{runtime, temporaryParent()} {
		if own(parent) != nil {
			continue
		}
		entries, err := os.ReadDir(parent)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if dir := filepath.Join(parent, e.Name()); e.IsDir() && own(dir) == nil {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// runtimeParent is where sessions are below the user's runtime directory, "" when there is none.
func runtimeParent() string {
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if runtime == "" {
		return ""
	}
	return filepath.Join(runtime, "podstep")
}

// temporaryParent is where they are otherwise.
func temporaryParent() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("podstep-%d", os.Getuid()))
}
