package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"podstep.dev/test/cluster/internal/node"
)

// claimState makes dir an empty state directory and locks it until the returned file is closed. A directory with anything else in it
// is left alone.
func claimState(dir string) (lock *os.File, err error) {
	if strings.ContainsAny(dir, " \t\n") {
		return nil, fmt.Errorf("state directory %q has a blank in its name, at which the commands for tests are split", dir)
	}
	if node.IsHidden(dir) {
		return nil, fmt.Errorf("state directory %s cannot be seen from the nodes, which have a /run and /var/lib of their own: choose another", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("empty the state directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, node.Marker)); err != nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty and no cluster's: choose another state directory", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	lock, err = os.OpenFile(filepath.Join(dir, node.Marker), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("another cluster is running with its state in %s", dir)
	}
	var errs []error
	for _, e := range entries {
		if e.Name() != node.Marker {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return lock, errors.Join(append(errs, os.Mkdir(filepath.Join(dir, "logs"), 0o755))...)
}

// claimBin keeps build.sh from removing the programs as an old version, until the returned file is closed.
func claimBin(dir string) (use *os.File, err error) {
	use, err = os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("find the cluster's programs: %w", err)
	}
	if err := unix.Flock(int(use.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		use.Close()
		return nil, fmt.Errorf("%s is being removed: %w", dir, err)
	}
	return use, nil
}
