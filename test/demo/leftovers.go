package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"podstep.dev/internal/testkit/pod"
)

// rulesPart is the argument that makes the demo count the kernel's packet filter tables where it runs: in the pod.
const rulesPart = "rules"

// countRules prints how many nftables tables this network namespace has.
func countRules(out io.Writer) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer conn.Close()
	answers, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETTABLE, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}, // struct nfgenmsg
	})
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	tables := 0
	for _, m := range answers {
		if m.Header.Type == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE {
			tables++
		}
	}
	fmt.Fprintln(out, tables)
	return nil
}

// rules counts the tables in the pod.
func rules(p *pod.Pod, self string) (int, error) {
	var out bytes.Buffer
	proc, err := p.Exec(pod.Command{Args: []string{self, rulesPart}, Stdout: &out, Stderr: &out})
	if err != nil {
		return 0, err
	}
	if status := proc.Wait(); status != 0 {
		return 0, fmt.Errorf("count the rules: status %v: %s", status, out.String())
	}
	return strconv.Atoi(strings.TrimSpace(out.String()))
}

// listeners are the TCP ports that something in the pod listens on, of IPv4 and IPv6 (proc_pid_net(5)).
func listeners(pid int) ([]int, error) {
	var ports []int
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			const listening = "0A"
			if len(fields) < 4 || fields[3] != listening {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			if err == nil && !slices.Contains(ports, int(port)) {
				ports = append(ports, int(port))
			}
		}
		_ = f.Close()
	}
	slices.Sort(ports)
	return ports, nil
}

// family are the processes that were below podstep at some time, by pid, with the time they started: their numbers may
// come to mean others.
type family map[int]string

// note adds those that are below pid.
func (f family) note(pid int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	parents := map[int]int{}
	for _, e := range entries {
		if child, err := strconv.Atoi(e.Name()); err == nil {
			parents[child], _ = stat(child)
		}
	}
	for child := range parents {
		for above, hops := child, 0; above > 1 && hops < 64; above, hops = parents[above], hops+1 {
			if above == pid {
				_, f[child] = stat(child)
			}
		}
	}
}

// left are those that run still, with their names.
func (f family) left() (names []string) {
	for pid, began := range f {
		if _, now := stat(pid); now == began && now != "" {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			names = append(names, fmt.Sprintf("%d (%s)", pid, bytes.TrimSpace(comm)))
		}
	}
	return names
}

// stat reads the parent and the start time of a process (proc_pid_stat(5), fields 4 and 22). A zombie has ended.
func stat(pid int) (parent int, began string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, ""
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return 0, ""
	}
	parent, _ = strconv.Atoi(fields[1])
	return parent, fields[19]
}

// filesBelow lists the files in dir and below.
func filesBelow(dir string) (files []string) {
	_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	return files
}

// eventually polls until holds is true or ctx ends.
func eventually(ctx context.Context, holds func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if holds() {
			return true
		}
		select {
		case <-ctx.Done():
			return holds()
		case <-tick.C:
		}
	}
}
