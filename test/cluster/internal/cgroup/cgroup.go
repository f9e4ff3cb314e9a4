// Package cgroup gives a node a cgroup of its own in each hierarchy of the machine, and shows it to the node as the root. The cgroups lie
// below the one that the caller is in, so that whatever bounds the caller bounds the cluster (cgroup v2: see parse).
//
// Both cgroup versions are known, and the hybrid layout, whose v2 hierarchy has no controllers to give and is left alone.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Hierarchy is one mounted cgroup hierarchy with the node's directory in it.
type Hierarchy struct {
	// Mount is where the hierarchy is mounted on the machine.
	Mount string
	// V2 tells the unified hierarchy.
	V2 bool
	// Options name a v1 hierarchy to mount(2): "cpu,cpuacct", "name=systemd". Empty for v2.
	Options string
	// Home is the directory that the caller is in, Dir the node's.
	Home, Dir string
}

// Make makes a directory called name in each hierarchy, and removes what clusters that were killed left: directories called as name is,
// a word and a process id joined by "-", whose process is gone. The caller removes what Make made with Remove, after an error too.
func Make(name string) ([]Hierarchy, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find this process's cgroups: %w", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find the cgroup hierarchies: %w", err)
	}
	hs, err := parse(string(own), string(mounts), name)
	if err != nil {
		return nil, err
	}
	for i, h := range hs {
		removeStale(filepath.Dir(h.Dir), name)
		if err := h.make(); err != nil {
			return hs[:i+1], err
		}
	}
	return hs, nil
}

func (h Hierarchy) make() error {
	if err := os.Mkdir(h.Dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make a cgroup (is %s mounted read-only, as in an unprivileged container?): %w", h.Mount, err)
	}
	if h.V2 {
		return h.checkControllers()
	}
	// A cpuset is born empty, and no process can enter it so.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		set, err := os.ReadFile(filepath.Join(h.Home, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // another controller's hierarchy
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(h.Dir, file), set, 0o644)
		}
		if err != nil {
			return fmt.Errorf("give the cgroup its processors and memory: %w", err)
		}
	}
	return nil
}

// checkControllers says what a kubelet would say much later, and in other words.
func (h Hierarchy) checkControllers() error {
	text, err := os.ReadFile(filepath.Join(h.Dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("look for the cgroup's controllers: %w", err)
	}
	have := strings.Fields(string(text))
	for _, want := range []string{"cpu", "cpuset", "memory", "pids"} {
		if !slices.Contains(have, want) {
			return fmt.Errorf("cgroup %s has the controllers %v, and a kubelet needs %s too: add +%s to %s/cgroup.subtree_control",
				h.Dir, have, want, want, filepath.Dir(h.Dir))
		}
	}
	return nil
}

// Inside calls f while the calling process is in the node's cgroups: a process that f starts stays there.
func Inside(hs []Hierarchy, f func() error) (err error) {
	pid := []byte(strconv.Itoa(os.Getpid()))
	var entered []Hierarchy
	defer func() {
		for _, h := range entered {
			if e := os.WriteFile(filepath.Join(h.Home, "cgroup.procs"), pid, 0o644); e != nil && err == nil {
				err = fmt.Errorf("leave cgroup %s: %w", h.Dir, e)
			}
		}
	}()
	for _, h := range hs {
		if err := os.WriteFile(filepath.Join(h.Dir, "cgroup.procs"), pid, 0o644); err != nil {
			return fmt.Errorf("enter cgroup %s: %w", h.Dir, err)
		}
		entered = append(entered, h)
	}
	return f()
}

// Remove removes the node's directories with those below, whose processes must be ending: it waits a second for each.
func Remove(hs []Hierarchy) error {
	var errs []error
	for _, h := range hs {
		var dirs []string
		err := filepath.WalkDir(h.Dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // a directory that cannot be read cannot be removed either, which is said below
		})
		errs = append(errs, err)
		for _, dir := range slices.Backward(dirs) {
			errs = append(errs, removeDir(dir))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove cgroups: %w", err)
	}
	return nil
}

// removeDir waits for the last process to leave dir: the kernel tells it by nothing but EBUSY.
func removeDir(dir string) error {
	for try := 0; ; try++ {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || try == 50 {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// removeStale removes what a cluster that was killed left in dir. What cannot be removed is nobody's harm, and stays.
func removeStale(dir, name string) {
	word, _, ok := strings.Cut(name, "-")
	if !ok {
		return
	}
	found, err := filepath.Glob(filepath.Join(dir, word+"-*"))
	if err != nil {
		return
	}
	for _, stale := range found {
		pid := strings.TrimPrefix(filepath.Base(stale), word+"-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			_ = Remove([]Hierarchy{{Dir: stale}})
		}
	}
}
