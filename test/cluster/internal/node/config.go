// Package node is a cluster from within: the first process of a node's namespaces, the programs that a node runs, and on the first
// node the control plane. A node is a set of namespaces with a kubelet in it; all of them are below the first one, and end with it.
package node

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"podstep.dev/test/cluster/internal/cgroup"
)

// Config is what the processes of a cluster know of it. Each node has its own copy in the state directory: NAME.json.
type Config struct {
	// State is the directory of logs, keys and kubeconfig files.
	State string
	// Bin is the directory of the programs, with the images in Bin/images.
	Bin string
	// Runc is the OCI runtime, CNI the directory of the network plugins.
	Runc, CNI string
	// ProxyMode is kube-proxy's: iptables or nftables.
	ProxyMode string
	// Door is the address, outside, that reaches the API server.
	Door string
	// Nodes are all nodes, Me the one that this copy is of: 0 has the control plane.
	Nodes []Member
	Me    int
}

// A Member is one node.
type Member struct {
	Name, IP, PodCIDR string
	Cgroups           []cgroup.Hierarchy
}

// Members makes n nodes.
func Members(n int) []Member {
	var nodes []Member
	for i := range n {
		nodes = append(nodes, Member{
			Name: fmt.Sprintf("node%d", i+1), IP: fmt.Sprintf("10.199.0.%d", i+1), PodCIDR: fmt.Sprintf("10.244.%d.0/24", i),
		})
	}
	return nodes
}

// Read reads the copy of a node from a state directory.
func Read(state, node string) (*Config, error) {
	text, err := os.ReadFile(filepath.Join(state, node+".json"))
	if err != nil {
		return nil, fmt.Errorf("no cluster with a node %q has its state in %s: %w", node, state, err)
	}
	c := &Config{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("read state of %s: %w", node, err)
	}
	return c, nil
}

func (c *Config) me() Member { return c.Nodes[c.Me] }

// Images are the archives that every node has from the beginning.
func (c *Config) Images() ([]string, error) {
	archives, err := filepath.Glob(filepath.Join(c.Bin, "images", "*.tar"))
	if err == nil && len(archives) == 0 {
		err = fmt.Errorf("no images are in %s: run \"make cluster\"", filepath.Join(c.Bin, "images"))
	}
	return archives, err
}

// Import is the command, of a node, that takes an archive's images in.
func (c *Config) Import(archive string) []string {
	return []string{filepath.Join(c.Bin, "kubebox"), "ctr", "--namespace", "k8s.io", "images", "import", "--local", archive}
}

// Start starts node i, whose Cgroups it sets: the caller removes them when the process is over. The files become the node's 3 and on:
// its status lines go to the first one, and the first node accepts at the second one. The node ends with the calling thread.
func (c *Config) Start(i int, files ...*os.File) (*exec.Cmd, error) {
	var err error
	name := "podsteptest-" + strconv.Itoa(os.Getpid())
	if i > 0 {
		name = c.Nodes[i].Name
	}
	if c.Nodes[i].Cgroups, err = cgroup.Make(name); err != nil {
		return nil, err
	}
	mine := *c
	mine.Me = i
	text, err := json.Marshal(mine)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(c.State, c.Nodes[i].Name+".json"), text, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", "init", c.State, c.Nodes[i].Name)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWCGROUP,
	}
	if err := cgroup.Inside(c.Nodes[i].Cgroups, cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s in namespaces of its own: %w", c.Nodes[i].Name, err)
	}
	pid := strconv.AppendInt(nil, int64(cmd.Process.Pid), 10)
	return cmd, os.WriteFile(filepath.Join(c.State, c.Nodes[i].Name+".pid"), pid, 0o600)
}

// pid is a node's first process, as the PID namespace of whoever started it knows it: this one's for the first node, the first node's
// for others.
func (c *Config) pid(i int) (string, error) {
	text, err := os.ReadFile(filepath.Join(c.State, c.Nodes[i].Name+".pid"))
	if err != nil {
		return "", fmt.Errorf("%s is not running: %w", c.Nodes[i].Name, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Marker is the file that makes a directory a state directory. Whoever runs the cluster has it locked.
const Marker = "podstep-cluster"

// running tells by an error that the cluster has ended: its process ids may be others' now.
func (c *Config) running() error {
	marker, err := os.Open(filepath.Join(c.State, Marker))
	if err != nil {
		return fmt.Errorf("look whether the cluster is running: %w", err)
	}
	defer marker.Close()
	if syscall.Flock(int(marker.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return fmt.Errorf("the cluster of %s has ended", c.State)
	}
	return nil
}

// Root is the path, outside, of a node's root directory.
func (c *Config) Root() (string, error) {
	if err := c.running(); err != nil {
		return "", err
	}
	pid, err := c.pid(0)
	if err != nil {
		return "", err
	}
	root := "/proc/" + pid + "/root"
	if c.Me > 0 {
		if pid, err = c.pid(c.Me); err != nil {
			return "", err
		}
		root += "/proc/" + pid + "/root"
	}
	return root, nil
}

// Enter is the command, outside, that runs args inside the node.
func (c *Config) Enter(args ...string) ([]string, error) {
	if err := c.running(); err != nil {
		return nil, err
	}
	pid, err := c.pid(0)
	if err != nil {
		return nil, err
	}
	enter := func(pid string) []string {
		return []string{"nsenter", "--target", pid, "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--"}
	}
	command := enter(pid)
	if c.Me > 0 {
		if pid, err = c.pid(c.Me); err != nil {
			return nil, err
		}
		command = append(command, enter(pid)...)
	}
	return append(command, args...), nil
}

// until tries f every 50 ms until it succeeds or the limit is over, and returns its last error then.
func until(done <-chan struct{}, limit time.Duration, f func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	over := time.NewTimer(limit)
	defer over.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-over.C:
			return fmt.Errorf("after %v: %w", limit, err)
		case <-done:
			return err
		}
	}
}
