package enter_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"podstep.dev/internal/enter"
	"podstep.dev/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sleeper runs a process in namespaces of its own; its user is known as inside in a user namespace, if inside >= 0.
func sleeper(t *testing.T, inside int) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS, Pdeathsig: syscall.SIGKILL}
	if inside >= 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Getegid(), Size: 1}}
	}
	if err := cmd.Start(); errors.Is(err, unix.EPERM) {
		t.Skip("user namespaces are not allowed")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	return cmd.Process.Pid
}

func open(t *testing.T, pid int) *enter.Target {
	t.Helper()
	target, err := enter.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target
}

// shell is a program that runs script, with standard output to the returned reader.
func shell(t *testing.T, script string) (enter.Program, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _, _ = r.Close(), w.Close(), null.Close() })
	return enter.Program{Path: "/bin/sh", Args: []string{"-c", script}, Stdin: null, Stdout: w, Stderr: w}, r
}

// facts starts script in target and returns what it printed.
func facts(t *testing.T, target *enter.Target, script string) string {
	t.Helper()
	program, out := shell(t, script)
	proc, err := enter.Start(target, program)
	if err != nil {
		t.Fatal(err)
	}
	_ = program.Stdout.Close()
	printed, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	state, err := proc.Wait()
	if err != nil || !state.Success() {
		t.Errorf("%v, %v:\n%s", state, err, printed)
	}
	return string(printed)
}

// namespaces of a process, as the shell's loop below prints them.
func namespaces(t *testing.T, pid int) string {
	t.Helper()
	var s strings.Builder
	for _, kind := range []string{"user", "net", "uts"} {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
		if err != nil {
			t.Fatal(err)
		}
		s.WriteString(link + "\n")
	}
	return s.String()
}

const printNamespaces = "for n in user net uts; do /bin/readlink /proc/self/ns/$n; done\n"

func TestStartJoinsTheNamespaces(t *testing.T) {
	const full = "000001ffffffffff"
	for name, inside := range map[string]int{"its root": 0, "without a root": 1000} {
		t.Run(name, func(t *testing.T) {
			pid := sleeper(t, inside)
			got := facts(t, open(t, pid), printNamespaces+"/bin/grep CapEff /proc/self/status; /usr/bin/id -u; /sbin/ip link set lo up && echo up")
			want := namespaces(t, pid) + "CapEff:\t" + full + "\n" + fmt.Sprintln(inside) + "up\n"
			if got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestStartGivesTheProgramNothingElse(t *testing.T) {
	t.Setenv("SECRET", "of the caller")
	leaked, err := unix.Open(os.DevNull, unix.O_RDONLY, 0) // as an editor leaves them open: without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaked)
	signals := "/bin/grep -E 'Sig(Blk|Ign)' /proc/self/status"
	got := facts(t, open(t, sleeper(t, 0)), "/bin/ls /proc/self/fd; /usr/bin/env | /bin/grep -c SECRET; pwd;"+signals)
	// ls has descriptor 3 for the directory.
	want := "0\n1\n2\n3\n0\n/\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestStartLeavesTheCallerWhereItIs(t *testing.T) {
	before := namespaces(t, os.Getpid())
	for range 20 {
		pid := sleeper(t, 0)
		if got := facts(t, open(t, pid), printNamespaces); got != namespaces(t, pid) {
			t.Fatalf("entered %s", got)
		}
	}
	if after := namespaces(t, os.Getpid()); after != before {
		t.Errorf("namespaces were\n%sand are\n%s", before, after)
	}
}

func TestStartRunsAProgramBehindAClosedDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root meets a namespace whose root is another user")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	body, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, body, 0o755), os.Chmod(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 12345, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 12345, Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	program, _ := shell(t, "")
	program.Path, program.Args = path, nil
	proc, err := enter.Start(open(t, cmd.Process.Pid), program)
	if err != nil {
		t.Fatal(err)
	}
	if state, err := proc.Wait(); err != nil || !state.Success() {
		t.Errorf("%v, %v", state, err)
	}
}

func TestStartTellsTheStepThatFailed(t *testing.T) {
	t.Run("execve", func(t *testing.T) {
		program, _ := shell(t, "")
		program.Path = filepath.Join(t.TempDir(), "text")
		if err := os.WriteFile(program.Path, []byte("no program"), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := enter.Start(open(t, sleeper(t, 0)), program)
		var refused *enter.Error
		if !errors.As(err, &refused) || refused.Step != "execve" || !errors.Is(err, unix.ENOEXEC) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("another user's", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root may enter every process")
		}
		program, _ := shell(t, "")
		_, err := enter.Start(open(t, 1), program)
		if !errors.Is(err, os.ErrPermission) {
			t.Errorf("got %v", err)
		}
	})
}

func TestKillEndsTheProgram(t *testing.T) {
	program, _ := shell(t, "exec /bin/sleep 1000")
	proc, err := enter.Start(open(t, sleeper(t, 0)), program)
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}
	state, err := proc.Wait()
	if err != nil || state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("%v, %v", state, err)
	}
	if err := proc.Kill(); err != nil {
		t.Errorf("killing a program that is over: %v", err)
	}
}

func TestProgramEndsWithItsParent(t *testing.T) {
	if os.Getenv("ENTER_TARGET") != "" {
		var pid int
		if _, err := fmt.Sscan(os.Getenv("ENTER_TARGET"), &pid); err != nil {
			t.Fatal(err)
		}
		program, _ := shell(t, "exec /bin/sleep 1000")
		proc, err := enter.Start(open(t, pid), program)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(proc.Pid)
		select {}
	}
	parent := exec.Command("/proc/self/exe", "-test.run=^TestProgramEndsWithItsParent$")
	parent.Env = append(os.Environ(), fmt.Sprintf("ENTER_TARGET=%d", sleeper(t, 0)))
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscan(out, &pid)
	_, _ = parent.Process.Kill(), parent.Wait()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the program is gone", func() bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) })
}

func TestOpenKnowsProcessesOnly(t *testing.T) {
	if _, err := enter.Open(1 << 30); !errors.Is(err, unix.ESRCH) {
		t.Errorf("no process: %v", err)
	}
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	target := open(t, cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if target.Alive() {
		t.Error("a process that was waited for is alive")
	}
}

func TestOrdinaryUserEntersHisOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this is an ordinary user already")
	}
	testkit.AsOrdinaryUser(t, "^Test(Start|Kill|Program)")
}
