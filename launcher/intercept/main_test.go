//go:build linux

package intercept_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"podstep.dev/launcher/intercept/seccomp"
)

// What this binary is started as beside a test: the shim, or the tests inside their own network namespace.
const (
	envShim     = "INTERCEPT_TEST_SHIM"     // "all" or "traced": become the arguments behind the filter; the socket is fd 3
	envInside   = "INTERCEPT_TEST_INSIDE"   // set in the namespace
	envPrograms = "INTERCEPT_TEST_PROGRAMS" // where testdata/goclient and goserver are built already
)

// TestMain runs everything in a network namespace that has nothing but loopback: what is not intercepted goes nowhere.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(envShim) != "":
		fatal(shim(os.Getenv(envShim) == "traced", os.Args[1:]))
	case os.Getenv(envInside) == "":
		os.Exit(inNamespace())
	}
	goleak.VerifyTestMain(m)
}

// shim installs the filter on its thread, hands the listener over by another, waits for the word and becomes argv.
func shim(traced bool, argv []string) error {
	if err := os.Unsetenv(envShim); err != nil {
		return err
	}
	runtime.LockOSThread()
	filter, err := seccomp.Filter(seccomp.Options{Exec: traced, Extra: extraSyscalls()})
	if err != nil {
		return err
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	listener, sent := make(chan int), make(chan error)
	go func() {
		fd := <-listener
		err := unix.Sendmsg(3, []byte{1}, unix.UnixRights(fd), nil, 0)
		if err == nil {
			_, err = unix.Read(3, make([]byte, 1))
		}
		sent <- err
	}()
	fd, err := seccomp.Install(filter)
	if err != nil {
		return err
	}
	listener <- fd
	if err := <-sent; err != nil {
		return err
	}
	return errors.Join(unix.Close(fd), unix.Close(3), unix.Exec(path, argv, os.Environ()))
}

// extraSyscalls is what the benchmark wants notified beside.
func extraSyscalls() []uint32 {
	if os.Getenv("INTERCEPT_TEST_GETPPID") != "" {
		return []uint32{unix.SYS_GETPPID}
	}
	return nil
}

func inNamespace() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envInside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	runtime.LockOSThread() // Pdeathsig is the thread's
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests need a network namespace of their own:", err)
		return 1
	}
	return 0
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "shim:", err)
	os.Exit(127)
}
