//go:build linux

package target

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// leastID is the shortest container ID that is believed: runtimes have 64 hexadecimal digits.
const leastID = 12

// Find returns the number of a container's first process, found by its cgroup: that of the oldest process whose
// /proc/PID/cgroup names the container's ID, and whose parent's does not. An ID may be as Kubernetes has it,
// "containerd://...". ESRCH: no process is seen here.
func Find(container string) (int, error) { return find("/proc", container) }

func find(proc, container string) (int, error) {
	id := container[strings.LastIndexByte(container, '/')+1:]
	if len(id) < leastID || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyz-") != "" {
		return 0, fmt.Errorf("find container %q: no ID of a container: %w", container, unix.EINVAL)
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return 0, fmt.Errorf("find container %s: %w", id, err)
	}
	found, began := 0, uint64(0)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !names(proc, pid, id) {
			continue
		}
		s, err := readStat(proc, pid)
		if err != nil || s.zombie() || names(proc, s.parent, id) {
			continue
		}
		// A program that somebody started in the container later (exec) has no parent there either.
		if found == 0 || s.start < began {
			found, began = pid, s.start
		}
	}
	if found == 0 {
		return 0, fmt.Errorf("find container %s: no process of it is seen here: %w", id, unix.ESRCH)
	}
	return found, nil
}

// names tells whether a process is in a cgroup of the container, of either version. From inside another cgroup
// namespace the path begins with /../, and still ends in the ID: ".../<id>", ".../cri-containerd-<id>.scope", ".../crio-<id>.scope".
func names(proc string, pid int, id string) bool {
	if pid == 0 {
		return false
	}
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "cgroup"))
	return err == nil && bytes.Contains(text, []byte(id))
}

// stat is what is needed of /proc/PID/stat (proc_pid_stat(5)).
type stat struct {
	state  byte
	parent int
	// start is in clock ticks since boot.
	start uint64
	// envStart and envEnd are where the environment was placed, zero for whom may not look into the process.
	envStart, envEnd uintptr
}

// zombie tells whether the process has ended and waits for its parent.
func (s stat) zombie() bool { return s.state == 'Z' || s.state == 'X' }

func readStat(proc string, pid int) (stat, error) {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(text))
}

// Fields of /proc/PID/stat behind the name in parentheses, which may have spaces and parentheses itself: the numbers of
// proc_pid_stat(5) less 3.
const (
	fieldState    = 0
	fieldParent   = 1
	fieldStart    = 19
	fieldEnvStart = 47
	fieldEnvEnd   = 48
)

func parseStat(text string) (s stat, err error) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) <= fieldEnvEnd {
		return s, fmt.Errorf("stat of %d fields: %w", len(fields), unix.EPROTO)
	}
	number := func(i int) uint64 {
		n, nerr := strconv.ParseUint(fields[i], 10, 64)
		err = errors.Join(err, nerr)
		return n
	}
	s.state = fields[fieldState][0]
	s.parent, s.start = int(number(fieldParent)), number(fieldStart)
	s.envStart, s.envEnd = uintptr(number(fieldEnvStart)), uintptr(number(fieldEnvEnd))
	return s, err
}
