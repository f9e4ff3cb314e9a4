package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Where Debian has what is not built here.
const (
	debianRunc = "/usr/sbin/runc"
	debianCNI  = "/usr/lib/cni"
)

// check says what the machine lacks for a cluster.
func check() error {
	return errors.Join(checkPrograms(debianRunc, debianCNI), checkRoot())
}

func checkRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs root: it is made of namespaces, mounts and cgroups")
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
