//go:build linux

// Package memory says how much an agent may take of the memory that it lives on, which may be the target pod's: an
// ephemeral container has no limit of its own, and what it takes the target lacks.
package memory

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// most is the cap on buffers when no limit is known, or a large one; least is what a session needs.
	most  = 32 << 20
	least = 4 << 20
	// part is the part of a limit that buffers may take.
	part = 8
	// Program is about what an agent takes beside its buffers.
	Program = 16 << 20
	// unlimited is more than any limit: version 1 of cgroups has no other word for none (PAGE_COUNTER_MAX).
	unlimited = 1 << 50
)

// Cap is the cap in bytes on all buffers under a limit in bytes, 0 when none is known.
func Cap(limit int) int {
	if limit == 0 {
		return most
	}
	return min(max(limit/part, least), most)
}

const (
	// mostConnections is how many are handled at once at most, and leastConnections gives one for so many bytes of buffers in
	// any case.
	mostConnections  = 4096
	leastConnections = 128 << 10
	// perConnection is the kernel's memory that one takes at most which carries little and is passed through: four narrow buffers.
	perConnection = 192 << 10
	// perDescriptor is how many file descriptors one may need, with as many more that still come in when there are too many.
	perDescriptor = 8
	// Conversation is about what a connection takes of the process's own memory on which requests are told apart, in bytes.
	Conversation = 24 << 10
)

// Connections is how many stolen connections may be handled at once under a limit in bytes, 0 when none is known, and one on open
// files, so that they cannot take more than an eighth of that memory if all carry what nobody reads.
func Connections(limit int, files uint64) int {
	n := mostConnections
	if limit != 0 {
		n = max(Cap(limit)/leastConnections, min(limit/part/perConnection, n))
	}
	return int(max(min(uint64(n), files/perDescriptor), 1))
}

// Limit is the limit in bytes on this process's memory, with that of the pod where it can be seen. Where none is known it is
// that of the process target, whose pod this may be, as far as that may be looked into. 0 says that none is known.
func Limit(target int) int {
	if n := limit("/", "/proc/self/cgroup"); n > 0 {
		return n
	}
	return limit(fmt.Sprintf("/proc/%d/root", target), fmt.Sprintf("/proc/%d/cgroup", target))
}

// limit reads the limit of the process whose root directory and /proc/PID/cgroup are given, 0 when there is none.
func limit(root, membership string) int {
	text, err := os.ReadFile(membership)
	if err != nil {
		return 0
	}
	lowest := 0
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		// ID:controllers:path; version 2 has ID 0 and no controllers (cgroups(7)).
		id, rest, _ := strings.Cut(lines.Text(), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		switch {
		case id == "0" && controllers == "":
			lowest = Lower(lowest, limit2(filepath.Join(root, "sys/fs/cgroup"), path))
		case controllers == "memory":
			lowest = Lower(lowest, limit1(filepath.Join(root, "sys/fs/cgroup/memory"), path))
		}
	}
	return lowest
}

// limit2 is the lowest memory.max from a cgroup of version 2 up to the root that is visible.
func limit2(mount, path string) int {
	lowest := 0
	for dir := inside(mount, path); ; dir = filepath.Dir(dir) {
		if text, err := os.ReadFile(filepath.Join(dir, "memory.max")); err == nil {
			lowest = Lower(lowest, number(string(text)))
		}
		if dir == mount || len(dir) < len(mount) {
			return lowest
		}
	}
}

// limit1 is what a cgroup of version 1 says of itself and those above it, also those that are not visible.
func limit1(mount, path string) int {
	text, err := os.ReadFile(filepath.Join(inside(mount, path), "memory.stat"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "hierarchical_memory_limit "); ok {
			return number(value)
		}
	}
	return 0
}

// inside is a cgroup's directory below its mount. A container's mount begins with the container's own cgroup, whose path
// may still be told from the node's root.
func inside(mount, path string) string {
	dir := filepath.Join(mount, filepath.Clean("/"+path))
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return mount
	}
	return dir
}

func number(text string) int {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil || n >= unlimited {
		return 0
	}
	return int(n)
}

// Lower is the lower of two limits, either of which may be none.
func Lower(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// Sacrifice makes this process the first that the kernel ends when memory runs out: better the agent than the target.
func Sacrifice() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return fmt.Errorf("be the first to go: %w", err)
	}
	return nil
}
