package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	root  = "/sys/fs/cgroup"
	flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
)

// Mount mounts the hierarchies at /sys/fs/cgroup as the caller's cgroup namespace shows them: the node's directories are the roots.
// The caller has a mount namespace of its own, with a fresh /sys.
func Mount(hs []Hierarchy) error {
	if len(hs) == 1 && hs[0].V2 {
		return mountV2()
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", flags, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", root, err)
	}
	for _, h := range hs {
		dir := filepath.Join(root, filepath.Base(h.Mount))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("mount cgroup %s: %w", h.Options, err)
		}
		options := h.Options
		if strings.HasPrefix(options, "name=") {
			options = "none," + options
		}
		if err := unix.Mount("cgroup", dir, "cgroup", flags, options); err != nil {
			return fmt.Errorf("mount cgroup %s: %w", h.Options, err)
		}
	}
	return nil
}

// mountV2 mounts the unified hierarchy and hands all of its controllers on. No process may be where controllers are handed on, so the
// caller goes to a cgroup "init".
func mountV2() error {
	if err := unix.Mount("cgroup2", root, "cgroup2", flags, ""); err != nil {
		return fmt.Errorf("mount %s: %w", root, err)
	}
	if err := os.Mkdir(root+"/init", 0o755); err != nil {
		return fmt.Errorf("make the first process's cgroup: %w", err)
	}
	if err := os.WriteFile(root+"/init/cgroup.procs", []byte("0"), 0o644); err != nil {
		return fmt.Errorf("enter the first process's cgroup: %w", err)
	}
	controllers, err := os.ReadFile(root + "/cgroup.controllers")
	if err != nil {
		return fmt.Errorf("hand the cgroup's controllers on: %w", err)
	}
	for _, c := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+"+c), 0o644); err != nil {
			return fmt.Errorf("hand cgroup controller %s on: %w", c, err)
		}
	}
	return nil
}
