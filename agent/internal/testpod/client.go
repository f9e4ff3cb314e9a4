//go:build linux

package testpod

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Addresses of the pod and of its client, on the veth pair between them.
const (
	Pod4    = "10.9.0.2"
	Pod6    = "fd09::2"
	Client4 = "10.9.0.1"
	Client6 = "fd09::1"
	// Other4 and Other6 are the client's too.
	Other4 = "10.9.0.7"
	Other6 = "fd09::7"
)

// Client is a network namespace beside the pod's.
type Client struct {
	t   testing.TB
	pid int
}

// NewClient makes a client's namespace and the link to it; both go with the test.
func NewClient(t testing.TB) *Client {
	t.Helper()
	cmd := Helper(t, "hold")
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &Client{t: t, pid: cmd.Process.Pid}
	t.Cleanup(func() {
		_ = ip("link del eth0")
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	for _, args := range []string{
		fmt.Sprintf("link add eth0 type veth peer name eth0 netns %d", c.pid),
		"addr add " + Pod4 + "/24 dev eth0",
		"addr add " + Pod6 + "/64 dev eth0 nodad",
		"link set eth0 up",
	} {
		if err := ip(args); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", Client4 + "/24", "dev", "eth0"},
		{"addr", "add", Other4 + "/24", "dev", "eth0"},
		{"addr", "add", Client6 + "/64", "dev", "eth0", "nodad"},
		{"addr", "add", Other6 + "/64", "dev", "eth0", "nodad", "preferred_lft", "0"},
		{"link", "set", "eth0", "up"},
	} {
		if out, err := c.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	// The kernel may take up to a second to switch a link on (linkwatch), and drops what is sent before.
	Eventually(t, "link up", func() bool {
		here, err1 := exec.Command("ip", "link", "show", "eth0").Output()
		there, err2 := c.Command("ip", "link", "show", "eth0").Output()
		return err1 == nil && err2 == nil && bytes.Contains(here, []byte("state UP")) && bytes.Contains(there, []byte("state UP"))
	})
	return c
}

// Command runs a program in the client's namespace.
func (c *Client) Command(name string, args ...string) *exec.Cmd {
	args = append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", c.pid), name}, args...)
	return exec.CommandContext(c.t.Context(), "nsenter", args...)
}

// Dial connects from the client's first address of the family; addr is an IP literal with a port. The connection closes
// with the test.
func (c *Client) Dial(addr string) (*net.TCPConn, error) {
	from := Client4
	if netip.MustParseAddrPort(addr).Addr().Is6() {
		from = Client6
	}
	return c.DialFrom(from, addr)
}

// DialFrom connects from one of the client's addresses.
func (c *Client) DialFrom(from, addr string) (*net.TCPConn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		// The thread is never unlocked, so it ends with the goroutine and nothing else runs in that namespace.
		runtime.LockOSThread()
		conn, err := c.dial(from, addr)
		done <- result{conn, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, r.err
	}
	c.t.Cleanup(func() { _ = r.conn.Close() })
	return r.conn.(*net.TCPConn), nil
}

func (c *Client) dial(from, addr string) (net.Conn, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.pid))
	if err != nil {
		return nil, err
	}
	defer func() { _ = ns.Close() }()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("setns: %w", err)
	}
	local := &net.TCPAddr{IP: net.ParseIP(from)}
	if ap, err := netip.ParseAddrPort(from); err == nil {
		local = net.TCPAddrFromAddrPort(ap)
	}
	dialer := net.Dialer{LocalAddr: local}
	return dialer.Dial("tcp", addr)
}

// hold keeps a namespace until the test lets go of it.
func hold() { _, _ = io.Copy(io.Discard, os.Stdin) }
