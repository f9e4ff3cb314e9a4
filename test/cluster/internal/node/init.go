package node

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"podstep.dev/test/cluster/internal/cgroup"
)

// Descriptors that a node's processes are started with.
const (
	statusFile = 3 + iota
	doorFile
)

// Init is the first process of a node's PID namespace: it makes the node's file systems, starts its main process and reaps whatever is
// left to it. It returns when that process ends, and all others end with it.
func Init(c *Config) error {
	if err := c.mountBase(); err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", "node", c.State, c.me().Name)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	files := []*os.File{os.NewFile(statusFile, "status")}
	if c.Me == 0 {
		files = append(files, os.NewFile(doorFile, "door"))
	}
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.me().Name, err)
	}
	for _, f := range files {
		f.Close()
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("reap: %w", err)
		}
		if pid == cmd.Process.Pid {
			return fmt.Errorf("%s ended with status %d", c.me().Name, status.ExitStatus())
		}
	}
}

// own are the directories that a node has for itself, empty and in memory: nothing of a cluster is left on the disk but its state.
func own() []string { return []string{"/run", "/var/lib", "/var/log"} }

// IsHidden tells whether a node sees something else at path than the machine does.
func IsHidden(path string) bool {
	for _, dir := range append(own(), "/var/run", "/proc", "/sys") {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}

// mountBase gives the node its own /proc, /sys, /run, /var/lib and /var/log.
func (c *Config) mountBase() (err error) {
	mount := func(source, target, kind string, flags uintptr, data string) {
		if err != nil {
			return
		}
		if e := unix.Mount(source, target, kind, flags, data); e != nil {
			err = fmt.Errorf("mount %s%s for %s: %w", kind, target, c.me().Name, e)
		}
	}
	mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	mount("proc", "/proc", "proc", 0, "")
	if err == nil {
		err = unix.Unmount("/sys", unix.MNT_DETACH) // with the cgroup mounts below it, which could not be mounted a second time
	}
	mount("sysfs", "/sys", "sysfs", 0, "")
	if err == nil {
		err = cgroup.Mount(c.me().Cgroups)
	}
	for _, dir := range own() {
		mount("tmpfs", dir, "tmpfs", 0, "mode=755")
	}
	// The kubelet sets these for the whole machine unless they are so already: it is shown that they are.
	for name, value := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		file := "/run/sysctl-" + strings.ReplaceAll(name, "/", ".")
		if err == nil {
			err = os.WriteFile(file, []byte(value+"\n"), 0o644)
		}
		mount(file, "/proc/sys/"+name, "", unix.MS_BIND, "")
	}
	// Volumes and the pods' network namespaces travel between mount namespaces, within the node only.
	mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
	return err
}
