package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// run runs a command to its end; what it says is part of the error.
func run(command ...string) error {
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
	}
	return nil
}

// ip runs the program ip with the words of a line.
func ip(format string, args ...any) error {
	return run(append([]string{"ip"}, strings.Fields(fmt.Sprintf(format, args...))...)...)
}

// network gives the node its name and addresses. The nodes' network is a bridge on the first one, which puts a cable's end into others.
func (n *Node) network() error {
	if err := unix.Sethostname([]byte(n.me().Name)); err != nil {
		return fmt.Errorf("name %s: %w", n.me().Name, err)
	}
	for name, value := range map[string]string{"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"} {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("prepare %s's network: %w", n.me().Name, err)
		}
	}
	if err := ip("link set lo up"); err != nil {
		return err
	}
	if n.Me == 0 {
		return errors.Join(ip("link add eth0 type bridge"), ip("addr add %s/24 dev eth0", n.me().IP), ip("link set eth0 up"))
	}
	if err := until(n.ctx.Done(), 30*time.Second, func() error { return ip("link set eth0 up") }); err != nil {
		return err
	}
	errs := []error{ip("addr add %s/24 dev eth0", n.me().IP), ip("route add default via %s", n.Nodes[0].IP)}
	for i, other := range n.Nodes {
		if i != n.Me {
			errs = append(errs, ip("route add %s via %s", other.PodCIDR, other.IP))
		}
	}
	return errors.Join(errs...)
}

// addNode starts another node and cables it to this one, which ends with it.
func (n *Node) addNode(i int) error {
	cmd, err := n.Start(i, n.status)
	if err != nil {
		return err
	}
	go func() { n.end(fmt.Errorf("%s ended: %w", n.Nodes[i].Name, cmd.Wait())) }()
	port := fmt.Sprintf("port%d", i)
	return errors.Join(
		ip("link add %s type veth peer name eth0 netns %d", port, cmd.Process.Pid),
		ip("link set %s master eth0 up", port),
		ip("route add %s via %s", n.Nodes[i].PodCIDR, n.Nodes[i].IP))
}
