//go:build linux

// Package testpod runs a package's tests inside a "pod": a network and uts namespace of their own, without a route out,
// where they may do what an agent does. As root the tests run twice, the second time as an ordinary user who is root in
// a user namespace only. Clients live in network namespaces beside the pod, joined to it by a veth pair.
package testpod

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	roleVariable = "PODSTEP_TESTPOD"
	// ordinary is the uid of the ordinary user.
	ordinary = 12345
)

// Main is called by TestMain. A goroutine that is left fails the run. helpers are programs that the test binary plays
// when it is started by [Helper].
func Main(m *testing.M, helpers map[string]func()) {
	role := os.Getenv(roleVariable)
	if name, ok := strings.CutPrefix(role, "helper "); ok {
		if name == "hold" {
			hold()
		} else {
			helpers[name]()
		}
		os.Exit(0)
	}
	if role != "" {
		if err := setUp(); err != nil {
			fmt.Fprintln(os.Stderr, "testpod:", err)
			os.Exit(1)
		}
		os.Exit(run(m))
	}
	code := 0
	if os.Getuid() == 0 {
		code = again("root", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS})
	}
	uid := os.Getuid()
	attributes := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS}
	if uid == 0 {
		uid = ordinary
		attributes.Credential = &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true}
	}
	attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid(uid), Size: 1}}
	if c := again("user", attributes); code == 0 {
		code = c
	}
	os.Exit(code)
}

// Ordinary says that this is the run as an ordinary user, who is root of one user namespace and knows no other user.
func Ordinary() bool { return os.Getenv(roleVariable) == "user" }

func run(m *testing.M) int {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func gid(uid int) int {
	if uid == ordinary {
		return ordinary
	}
	return os.Getgid()
}

// again runs this test binary in the namespaces that attributes say.
func again(role string, attributes *syscall.SysProcAttr) int {
	runtime.LockOSThread() // the death signal is that of the thread
	attributes.Pdeathsig = syscall.SIGKILL
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	if role == "user" {
		cmd.Env = append(cmd.Env, "HOME=/tmp", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = attributes
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	}
	fmt.Fprintf(os.Stderr, "testpod: run as %s: %v\n", role, err)
	return 1
}

func setUp() error {
	if err := syscall.Sethostname([]byte("web-0")); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	return ip("link set lo up")
}

func ip(args string) error {
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, out)
	}
	return nil
}

// Helper is a command that plays the helper called name; see [Main]. It should end with its standard input: a parent
// death signal would come when the thread that started it ends, and threads that were in other namespaces do.
func Helper(t testing.TB, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVariable+"=helper "+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	return cmd
}

// Eventually waits until ok, at most 10 s.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		<-tick.C
	}
}
