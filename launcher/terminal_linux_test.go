package launcher

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/testkit"
)

// screen is a terminal with a shell that has job control.
type screen struct {
	t     *testing.T
	ptmx  *os.File
	shell int // its process id

	mu   sync.Mutex
	text strings.Builder
	from int // where the next expect looks
}

func openScreen(t *testing.T, a *adapter) *screen {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var number int
	if err := errorsOf(
		func() error { return unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0) },
		func() (err error) { number, err = unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN); return err },
	); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/dev/pts/%d", number)
	if err := os.Chown(path, int(a.uid), -1); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	shell := a.command("bash", "--norc", "--noprofile", "-i")
	shell.Env = append(shell.Env, "PS1=$ ", "TERM=dumb", "HISTFILE=")
	shell.Stdin, shell.Stdout, shell.Stderr = tty, tty, tty
	if shell.SysProcAttr == nil {
		shell.SysProcAttr = &syscall.SysProcAttr{}
	}
	shell.SysProcAttr.Setsid, shell.SysProcAttr.Setctty = true, true
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, ptmx: ptmx, shell: shell.Process.Pid}
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 4096)
		for {
			n, err := ptmx.Read(b)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.text.Write(b[:n])
			s.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = shell.Process.Kill()
		_ = shell.Wait()
		a.endSession()
		_ = ptmx.Close()
		reading.Wait()
		if t.Failed() {
			t.Logf("screen:\n%s", s.text.String())
		}
	})
	return s
}

func errorsOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (s *screen) typed(text string) {
	s.t.Helper()
	if _, err := s.ptmx.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits for text behind what was expected before.
func (s *screen) expect(text string) {
	s.t.Helper()
	testkit.Eventually(s.t, fmt.Sprintf("%q on the screen", text), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := strings.Index(s.text.String()[s.from:], text)
		if i >= 0 {
			s.from += i + len(text)
		}
		return i >= 0
	})
}

// awaitForeground waits until the terminal is command's.
func (s *screen) awaitForeground(command string) {
	s.t.Helper()
	testkit.Eventually(s.t, command+" has the terminal", func() bool {
		return commandOf(s.foreground()) == command
	})
}

func (s *screen) foreground() int {
	s.t.Helper()
	group, err := unix.IoctlGetInt(int(s.ptmx.Fd()), unix.TIOCGPGRP)
	if err != nil {
		s.t.Fatal(err)
	}
	return group
}

// stateOf is the state of the session's process that runs command.
func (a *adapter) stateOf(command string) byte {
	for _, f := range a.processes() {
		if f.command == command {
			return f.state
		}
	}
	return 0
}

func TestTerminalWorksThroughInterception(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Fatal("a shell with job control is needed: ", err)
	}
	for name, command := range map[string]func(t *testing.T, a *adapter) string{
		"below":  func(t *testing.T, a *adapter) string { return a.runScript(t) },
		"beside": func(_ *testing.T, a *adapter) string { return strings.Join(a.launcherCommand().Args, " ") },
	} {
		t.Run(name, func(t *testing.T) {
			eachUser(t, func(t *testing.T, uid uint32) {
				a := startAdapter(t, uid, spec{})
				run := command(t, a)
				s := openScreen(t, a)
				s.expect("$ ")
				s.typed("stty -echo; echo quiet $((40+1))\n")
				s.expect("quiet 41")
				s.typed("alias run='" + run + " '; echo defined\n")
				s.expect("defined")

				s.typed("run cat\nhello\n")
				s.expect("hello")
				s.typed("\x1a") // Ctrl-Z
				s.expect("Stopped")
				s.typed("echo shell $((40+2))\n")
				s.expect("shell 42")
				s.typed("fg\nagain\n")
				s.expect("again")
				s.typed("\x03") // Ctrl-C, which drops what was typed ahead
				s.expect("$ ")
				s.typed("echo status $?\n")
				s.expect("status 130")

				s.typed("run sh -c 'exit 9'\necho status $?\n")
				s.expect("status 9")

				// In the background it does not take the terminal, and in the foreground it gets it.
				s.typed("run cat &\necho shell $((40+3))\n")
				s.expect("shell 43")
				s.typed("fg\nonce more\n")
				s.expect("once more")
				s.typed("\x04") // Ctrl-D
				s.typed("echo status $?\n")
				s.expect("status 0")

				// One that never reads is in the foreground after fg, too: Ctrl-Z stops it, not only what is around it.
				s.typed("run sleep 1000 &\necho shell $((40+4))\n")
				s.expect("shell 44")
				testkit.Eventually(t, "the program runs", func() bool { return a.stateOf("sleep 1000") == 'S' })
				s.typed("fg\n")
				s.expect("sleep 1000")
				testkit.Eventually(t, "fg gives the terminal away", func() bool { return s.foreground() != s.shell })
				s.typed("\x1a")
				s.expect("Stopped")
				if state := a.stateOf("sleep 1000"); state != 'T' {
					t.Errorf("the program is in state %c", state)
				}
				s.typed("fg\n")
				s.expect("sleep 1000")
				s.awaitForeground("sleep 1000")
				s.typed("\x03")
				s.expect("$ ")
				s.typed("echo status $?\n")
				s.expect("status 130")

				s.typed("run sh -c 'stty size >/dev/null && uname -n'\n")
				s.expect("web-0")
				s.typed("exit\n")
			})
		})
	}
}

func commandOf(pid int) string {
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
}

// runScript makes a command out of a stand-in for `podstep run`.
func (a *adapter) runScript(t *testing.T) string {
	t.Helper()
	raw, err := json.Marshal(spec{Dir: sessionDir(t, a.uid), Run: true, Intercepted: true, Foreground: true})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "run")
	script := fmt.Sprintf("#!/bin/sh\nexport %s='%s'\nexec %s \"$@\"\n", standInEnv, raw, filepath.Join(os.Getenv(binEnv), "adapter"))
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(path); dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
