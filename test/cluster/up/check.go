package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Where Debian has what is not built here.
const (
	debianRunc = "/usr/sbin/runc"
	debianCNI  = "/usr/lib/cni"
)

// check says what the machine lacks for a cluster.
func check() error {
	return errors.Join(checkPrograms(debianRunc, debianCNI), checkRoot(), checkWatchers(2))
}

func checkRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs root: it is made of namespaces, mounts and cgroups")
	}
	return nil
}

// watchers is how many inotify instances a node takes: its kubelet has 6, containerd 2, kube-proxy 1, and the API server 3.
const watchers = 12

// checkWatchers tries whether n nodes will have their inotify instances, which a kubelet says late and in other words. The kernel
// has one limit for all processes of a user (inotify(7), /proc interfaces).
func checkWatchers(n int) error {
	for range n * watchers {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			return fmt.Errorf("too few inotify instances are left for %d nodes; other clusters may have them (sysctl fs.inotify.max_user_instances): %w", n, err)
		}
		defer unix.Close(fd)
	}
	return nil
}

// checkPrograms looks for what a node runs that is not built here, and names the packages that have it.
func checkPrograms(runc, cni string) error {
	var missing, packages []string
	look := func(file, name, pkg string) {
		if _, err := exec.LookPath(file); err == nil {
			return
		}
		missing = append(missing, name)
		if len(packages) == 0 || packages[len(packages)-1] != pkg {
			packages = append(packages, pkg)
		}
	}
	look(runc, "runc ("+runc+")", "runc")
	for _, plugin := range []string{"bridge", "host-local", "loopback"} {
		look(filepath.Join(cni, plugin), "the network plugin "+plugin+" ("+cni+")", "containernetworking-plugins")
	}
	look("nft", "nft", "nftables")
	look("ip", "ip", "iproute2")
	look("nsenter", "nsenter", "util-linux")
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("this machine lacks %s: with Debian, apt-get install --no-install-recommends %s",
		strings.Join(missing, ", "), strings.Join(packages, " "))
}
