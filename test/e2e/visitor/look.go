package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/nftables"
)

// seen is what there is in a pod.
type seen struct {
	Processes []process
	Tables    []string // of nftables, in the pod's network namespace
}

type process struct {
	PID    int // on the node
	Name   string
	Cgroup string
	RSS    int // in KiB
}

// look finds the processes by the pod's UID, which is in the name of its cgroup under every cgroup driver: with dashes, or
// with underscores when systemd made it.
func look(uid string) (s seen, err error) {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return s, err
	}
	for _, dir := range names {
		cgroup, err := os.ReadFile(dir + "/cgroup")
		if err != nil || !strings.Contains(string(cgroup), uid) && !strings.Contains(string(cgroup), strings.ReplaceAll(uid, "-", "_")) {
			continue // also: it is gone
		}
		comm, _ := os.ReadFile(dir + "/comm")
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return s, err
		}
		first, _, _ := strings.Cut(string(cgroup), "\n")
		s.Processes = append(s.Processes, process{PID: pid, Name: strings.TrimSpace(string(comm)), Cgroup: first, RSS: rss(dir)})
	}
	if len(s.Processes) == 0 {
		return s, nil // the pod has ended, and its network namespace with it
	}
	s.Tables, err = tables(s.Processes)
	return s, err
}

// tables lists those of the first process that still has a network namespace.
func tables(processes []process) (names []string, err error) {
	for _, p := range processes {
		netns, openErr := os.Open(fmt.Sprintf("/proc/%d/ns/net", p.PID))
		if err = openErr; err != nil {
			continue
		}
		defer netns.Close()
		conn, err := nftables.New(nftables.WithNetNSFd(int(netns.Fd())))
		if err != nil {
			return nil, err
		}
		list, err := conn.ListTables()
		if err != nil {
			return nil, err
		}
		for _, t := range list {
			names = append(names, t.Name)
		}
		return names, nil
	}
	return nil, err
}

func rss(dir string) int {
	status, _ := os.ReadFile(dir + "/status")
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.Atoi(fields[0])
	return kib
}
