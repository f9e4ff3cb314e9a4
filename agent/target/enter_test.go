//go:build linux

package target

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"podstep.dev/agent/internal/testpod"
)

// elsewhere is a process in namespaces of its own. It says when it is there and lives as long as its standard input.
func elsewhere() {
	if err := unix.Sethostname([]byte("elsewhere")); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// entered enters the process that its argument names and becomes a program that tells where it is.
func entered() {
	pid, err := strconv.Atoi(os.Args[1])
	if err == nil {
		err = Enter(pid)
	}
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	_ = os.Setenv("PODSTEP_TESTPOD", "helper where")
	fmt.Println("error:", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// confined loses the capability that its second argument numbers, and then does what entered does.
func confined() {
	lost, err := strconv.Atoi(os.Args[2])
	runtime.LockOSThread()
	if err == nil {
		err = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(lost), 0, 0, 0)
	}
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	_ = os.Setenv("PODSTEP_TESTPOD", "helper entered")
	fmt.Println("error:", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// where tells the hostname and how many network interfaces there are.
func where() {
	hostname, _ := os.Hostname()
	interfaces, _ := net.Interfaces()
	fmt.Printf("%s with %d interface\n", hostname, len(interfaces))
}

// startElsewhere runs a process in namespaces of its own until the test ends.
func startElsewhere(t *testing.T) int {
	t.Helper()
	testpod.NewClient(t) // so that there are two interfaces here
	cmd := testpod.Helper(t, "elsewhere")
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("helper says %q, %v", line, err)
	}
	return cmd.Process.Pid
}

func TestEnteredProgramIsWhereTheTargetIs(t *testing.T) {
	pid := startElsewhere(t)
	out, err := testpod.Helper(t, "entered", fmt.Sprint(pid)).CombinedOutput()
	if err != nil || string(out) != "elsewhere with 1 interface\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestEnteringNamesTheCapabilityThatIsMissing(t *testing.T) {
	pid := startElsewhere(t)
	for lacking, name := range map[int]string{unix.CAP_SYS_ADMIN: "SYS_ADMIN", unix.CAP_SYS_PTRACE: "SYS_PTRACE"} {
		out, err := testpod.Helper(t, "confined", fmt.Sprint(pid), strconv.Itoa(lacking)).CombinedOutput()
		if want := "enter the target's net namespace: the agent lacks the capability " + name; err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %s, want %s", err, out, want)
		}
	}
}
