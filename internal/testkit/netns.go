//go:build linux

package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// isolated marks a test process that Isolate has put into its namespaces.
const isolated = "PODSTEP_TEST_ISOLATED"

// Isolate runs the calling test program again in a network namespace of its own, with loopback and nothing else, as root
// of it: an ordinary user gets a user namespace too. In the new process it returns inside; in the first one it returns
// the exit status of the new one. Call it first in TestMain.
func Isolate() (status int, inside bool) {
	if os.Getenv(isolated) != "" {
		if err := linkUp("lo"); err != nil {
			fmt.Fprintln(os.Stderr, "bring loopback up:", err)
			return 1, false
		}
		return 0, true
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode(), false
	case err != nil:
		fmt.Fprintln(os.Stderr, "isolate tests:", err)
		return 1, false
	}
	return 0, false
}

// AsOrdinaryUser runs the tests of the calling program that match pattern (as of -test.run) as a user without any
// privilege, from outside; they isolate themselves. It skips the test where there is no other user to become: for an
// ordinary user, who is root only of the namespace that Isolate made.
func AsOrdinaryUser(t *testing.T, pattern string) {
	t.Helper()
	if users, err := os.ReadFile("/proc/self/uid_map"); os.Getuid() != 0 || err != nil || len(strings.Fields(string(users))) != 3 ||
		!strings.HasSuffix(strings.TrimSpace(string(users)), " 4294967295") {
		t.Skip("this is an ordinary user already")
	}
	const nobody = 12345
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run="+pattern, "-test.v")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, isolated+"=") && !strings.HasPrefix(v, "TMPDIR=") && !strings.HasPrefix(v, "HOME=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Fatalf("as uid %d: %v\n%s", nobody, err, out)
	}
}

func linkUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
