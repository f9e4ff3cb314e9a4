package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// page is a unit of memory that is surely taken when a byte of it is written.
const page = 4 << 10

// exhaust joins the memory cgroup of a process of this node and takes memory there until the kernel has killed that process, which
// is made its first choice.
func exhaust(pid int) error {
	dir, err := memoryCgroup(pid)
	if err != nil {
		return err
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("1000"), 0); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return err
	}
	var taken [][]byte
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return nil
		}
		if len(taken) < 1<<10 {
			megabyte := make([]byte, 1<<20)
			for i := 0; i < len(megabyte); i += page {
				megabyte[i] = 1
			}
			taken = append(taken, megabyte)
		}
	}
	return fmt.Errorf("process %d lives on, with %d MiB of its memory taken", pid, len(taken))
}

// memoryCgroup is the directory of a process's memory cgroup, by cgroups(7): the controller's own hierarchy, or the unified one.
func memoryCgroup(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	unified := ""
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(fields) != 3:
		case fields[1] == "memory":
			return filepath.Join("/sys/fs/cgroup/memory", fields[2]), nil
		case fields[0] == "0":
			unified = filepath.Join("/sys/fs/cgroup", fields[2])
		}
	}
	if unified == "" {
		return "", fmt.Errorf("process %d has no memory cgroup", pid)
	}
	return unified, nil
}
