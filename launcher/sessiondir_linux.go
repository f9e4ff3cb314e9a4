package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// checkSessionDir makes sure that dir is a session's: absolute, ours, and nobody else's.
func checkSessionDir(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &fs.PathError{Op: "stat session directory", Path: dir, Err: err}
	}
	if !filepath.IsAbs(dir) || st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o777 != 0o700 || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("session directory %s: not a directory of uid %d with mode 0700", dir, os.Geteuid())
	}
	return nil
}

// removeSessionDir removes nothing but a session's directory. None is right, too.
func removeSessionDir(dir string) error {
	if dir == "" {
		return nil
	}
	err := checkSessionDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("remove session directory: %w", err)
	}
	return nil
}
