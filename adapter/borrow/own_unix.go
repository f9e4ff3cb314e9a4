//go:build unix

package borrow

import (
	"fmt"
	"os"
	"syscall"
)

// own refuses a directory that another user made first or that others may enter: /tmp is everybody's.
func own(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Getuid() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is not a directory of this user alone", dir)
	}
	return nil
}
