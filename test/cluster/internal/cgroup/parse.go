package cgroup

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
)

// parse finds the hierarchies in the texts of /proc/self/cgroup and /proc/self/mountinfo (cgroups(7), proc(5)), for a node called name.
//
// A v1 directory goes below the caller's. A v2 one goes below the mount's root: a cgroup with processes in it, as the caller's, can
// hand no controllers on.
func parse(own, mounts, name string) ([]Hierarchy, error) {
	paths := map[string]string{} // by the controllers, or the name, of the hierarchy
	for line := range strings.Lines(own) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			paths[f[1]] = f[2]
		}
	}
	var v1, v2 []Hierarchy
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		mount, source := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(source) < 3 || source[0] != "cgroup" && source[0] != "cgroup2" {
			continue
		}
		h := Hierarchy{Mount: mount[4], V2: source[0] == "cgroup2"}
		if !h.V2 {
			h.Options = hierarchyOptions(source[2])
		}
		path, ok := paths[h.Options]
		if !ok {
			continue
		}
		below, err := filepath.Rel(mount[3], path)
		if err != nil || strings.HasPrefix(below, "..") {
			continue // mounted from elsewhere: the caller's own cgroup is not in it
		}
		h.Home = filepath.Join(h.Mount, below)
		if h.V2 {
			h.Dir = filepath.Join(h.Mount, name)
			v2 = append(v2, h)
			continue
		}
		h.Dir = filepath.Join(h.Home, name)
		if !slices.ContainsFunc(v1, func(o Hierarchy) bool { return o.Options == h.Options }) {
			v1 = append(v1, h)
		}
	}
	switch {
	case len(v1) > 0:
		return v1, nil
	case len(v2) > 0:
		return v2[:1], nil
	}
	return nil, errors.New("no cgroup hierarchy with this process in it is mounted: mount one at /sys/fs/cgroup")
}

// hierarchyOptions leaves of a v1 mount's options those that name the hierarchy.
func hierarchyOptions(options string) string {
	var kept []string
	for o := range strings.SplitSeq(options, ",") {
		if o != "rw" && o != "ro" && o != "xattr" && !strings.HasPrefix(o, "release_agent=") {
			kept = append(kept, o)
		}
	}
	return strings.Join(kept, ",")
}
