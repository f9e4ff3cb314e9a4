package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"podstep.dev/internal/testkit"
)

const python = "/usr/bin/python3"

// ran is a program that runs or ran under interception.
type ran struct {
	t       *testing.T
	adapter *adapter
	out     string    // a file
	cmd     *exec.Cmd // nil when the adapter started it
	done    chan error
}

// eachForm runs test with a way to start a program under interception: below the adapter, and beside it, where the
// adapter may not look into it; each as root and as an ordinary user.
func eachForm(t *testing.T, test func(t *testing.T, start func(argv ...string) *ran)) {
	t.Run("below", func(t *testing.T) {
		eachUser(t, func(t *testing.T, uid uint32) {
			test(t, func(argv ...string) *ran { return startBelow(t, uid, argv...) })
		})
	})
	t.Run("beside", func(t *testing.T) {
		eachUser(t, func(t *testing.T, uid uint32) {
			test(t, func(argv ...string) *ran { return startBeside(t, uid, argv...) })
		})
	})
}

func startBelow(t *testing.T, uid uint32, argv ...string) *ran {
	t.Helper()
	r := &ran{t: t}
	dir := sessionDir(t, uid)
	r.out = filepath.Join(filepath.Dir(dir), filepath.Base(dir)+".out")
	t.Cleanup(func() { _ = os.Remove(r.out) })
	r.adapter = startAdapter(t, uid, spec{Dir: dir, Argv: argv, Intercepted: true, Out: r.out})
	return r
}

func startBeside(t *testing.T, uid uint32, argv ...string) *ran {
	t.Helper()
	return startAdapter(t, uid, spec{}).beside(argv...)
}

// beside starts a program as a terminal would: not below the adapter.
func (a *adapter) beside(argv ...string) *ran {
	a.t.Helper()
	r := &ran{t: a.t, adapter: a, out: filepath.Join(a.t.TempDir(), "out"), done: make(chan error, 1)}
	out, err := os.Create(r.out)
	if err != nil {
		a.t.Fatal(err)
	}
	defer out.Close()
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "NUMBER", a.number)
	}
	r.cmd = a.launcherCommand(argv...)
	r.cmd.Stdout, r.cmd.Stderr = out, out
	if err := r.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	go func() { r.done <- r.cmd.Wait() }()
	return r
}

// pid is the debuggee's process id.
func (r *ran) pid() int {
	r.t.Helper()
	return r.adapter.expect("the debuggee's pid", func(w said) bool { return w.Started != 0 }).Started
}

// output is what the program has written so far.
func (r *ran) output() string {
	r.t.Helper()
	out, err := os.ReadFile(r.out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// wait waits for the program's end.
func (r *ran) wait() ExitStatus {
	r.t.Helper()
	if r.cmd == nil {
		return r.adapter.exited()
	}
	err := <-r.done
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	return exitStatus(r.cmd.ProcessState.Sys().(syscall.WaitStatus))
}

// signal passes sig to the program as its starter would.
func (r *ran) signal(sig syscall.Signal) {
	r.t.Helper()
	var err error
	if r.cmd == nil {
		_, err = fmt.Fprintf(r.adapter.stdin, "signal %d\n", sig)
	} else {
		err = r.cmd.Process.Signal(sig)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func mustSucceed(t *testing.T, r *ran) {
	t.Helper()
	if status := r.wait(); status != (ExitStatus{}) {
		t.Fatalf("%+v, output:\n%s", status, r.output())
	}
}

func TestDebuggeeReachesThePodByName(t *testing.T) {
	eachForm(t, func(t *testing.T, start func(argv ...string) *ran) {
		r := start(python, "-c", `import urllib.request; print(urllib.request.urlopen("http://web.shop.test/cart", timeout=20).read().decode())`)
		mustSucceed(t, r)
		if got, want := r.output(), "pod says /cart to web.shop.test"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestDebuggeeGetsThePodsErrno(t *testing.T) {
	eachForm(t, func(t *testing.T, start func(argv ...string) *ran) {
		r := start(python, "-c", `
import socket
s = socket.socket()
print(s.connect_ex(("10.201.2.3", 81)))`)
		mustSucceed(t, r)
		if got, want := r.output(), fmt.Sprint(int(syscall.ECONNREFUSED)); got != want {
			t.Errorf("connect gave %s, want %s", got, want)
		}
	})
}

func TestDebuggeeSeesThePodsNames(t *testing.T) {
	eachForm(t, func(t *testing.T, start func(argv ...string) *ran) {
		r := start("sh", "-c", "uname -n; echo $FROM_POD")
		mustSucceed(t, r)
		if got, want := r.output(), "web-0\nyes"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestDeliverReachesTheDebuggee(t *testing.T) {
	eachForm(t, func(t *testing.T, start func(argv ...string) *ran) {
		r := start(python, "-u", "-m", "http.server", "8080", "--directory", "/")
		r.adapter.expect("word of the listener", func(w said) bool { return w.Listening == 8080 })
		for range 3 {
			if body := r.adapter.deliver(8080); !strings.Contains(body, "Error code: 404") {
				t.Errorf("the debuggee answered %q", body)
			}
		}
		if body := r.adapter.deliver(8081); !strings.Contains(body, syscall.ECONNREFUSED.Error()) {
			t.Errorf("where nobody listens: %q", body)
		}
		testkit.Eventually(t, "the debuggee logs the true client", func() bool {
			return strings.Count(r.output(), client.Addr().String()+" - - ") >= 3
		})
		r.signal(syscall.SIGINT)
		r.wait()
	})
}

func TestExecPassesExitStatusAndSignalsOn(t *testing.T) {
	eachForm(t, func(t *testing.T, start func(argv ...string) *ran) {
		if got, want := start("sh", "-c", "exit 42").wait(), (ExitStatus{Code: 42}); got != want {
			t.Errorf("exit: got %+v, want %+v", got, want)
		}
		if got, want := start("sh", "-c", "kill -SEGV $$").wait(), (ExitStatus{Signal: syscall.SIGSEGV}); got != want {
			t.Errorf("own signal: got %+v, want %+v", got, want)
		}
		r := start("sh", "-c", `trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done`)
		testkit.Eventually(t, "the program is ready", func() bool { return r.output() == "ready" })
		r.signal(syscall.SIGTERM)
		if got, want := r.wait(), (ExitStatus{Code: 7}); got != want {
			t.Errorf("handled signal: got %+v, want %+v", got, want)
		}
	})
}

func TestExecSaysWhyItCannotRun(t *testing.T) {
	eachForm(t, func(t *testing.T, start func(argv ...string) *ran) {
		r := start("no-such-program")
		if got, want := r.wait(), (ExitStatus{Code: 127}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got, want := r.output(), `podstep-launch: exec: "no-such-program": executable file not found in $PATH`; got != want {
			t.Errorf("said %q, want %q", got, want)
		}
	})
}

func TestExecSaysThatTheSessionIsOver(t *testing.T) {
	r := startBeside(t, uint32(os.Getuid()), "true")
	r.wait()
	command := r.adapter.launcherCommand("true")
	if err := r.adapter.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	r.adapter.mustVanish()
	out, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "has the session ended?") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestExecKeepsTheProcess(t *testing.T) {
	r := startBelow(t, uint32(os.Getuid()), "sh", "-c", "echo $$")
	started := r.adapter.expect("the program's pid", func(w said) bool { return w.Pid != 0 }).Pid
	mustSucceed(t, r)
	if got, want := r.output(), fmt.Sprint(started); got != want {
		t.Errorf("the debuggee is process %s, started was %s", got, want)
	}
	if r.pid() != started {
		t.Errorf("told of process %d, started was %d", r.pid(), started)
	}
}

func TestExecAddsNoDescriptor(t *testing.T) {
	const list = `
import os
for fd in os.listdir("/proc/self/fd"):
    try: print(os.readlink("/proc/self/fd/" + fd))
    except FileNotFoundError: pass`
	// What this process itself leaked to its children comes through beside the adapter.
	plain, err := exec.Command(python, "-c", list).Output()
	if err != nil {
		t.Fatal(err)
	}
	eachForm(t, func(t *testing.T, start func(argv ...string) *ran) {
		r := start(python, "-c", list)
		mustSucceed(t, r)
		for line := range strings.Lines(r.output()) {
			name := strings.TrimSpace(line)
			if name != "/dev/null" && name != r.out && (r.cmd == nil || !strings.Contains(string(plain), name)) {
				t.Errorf("the debuggee has %s", name)
			}
		}
	})
}

func TestHostRefusesStrangers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("two users are needed")
	}
	a := startAdapter(t, 0, spec{})
	command := a.launcherCommand("true")
	for _, path := range []string{a.dir, filepath.Join(a.dir, socketName)} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	out, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is of uid 0") {
		t.Errorf("the launcher: %v: %s", err, out)
	}
	// A stranger's own launcher would not look first.
	rude := a.command(python, "-c", `
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
print(s.recv(1000))`, filepath.Join(a.dir, socketName))
	rude.SysProcAttr = command.SysProcAttr
	if out, err := rude.CombinedOutput(); err != nil || !strings.Contains(string(out), "belongs to uid 0, not 12345") {
		t.Errorf("the host: %v: %s", err, out)
	}
}

func TestListenSaysWhatTheKernelLacks(t *testing.T) {
	// A session inside a debuggee: the kernel allows one listener.
	eachUser(t, func(t *testing.T, uid uint32) {
		a := startAdapter(t, uid, spec{})
		inner, err := json.Marshal(spec{Dir: sessionDir(t, uid)})
		if err != nil {
			t.Fatal(err)
		}
		r := a.beside("env", standInEnv+"="+string(inner), filepath.Join(os.Getenv(binEnv), "adapter"))
		r.wait()
		for _, want := range []string{"[podstep-5002]", "another supervisor above this process holds the seccomp listener"} {
			if !strings.Contains(r.output(), want) {
				t.Errorf("%q is missing in %q", want, r.output())
			}
		}
	})
}

func TestTracedLeavesTheDebuggerAlone(t *testing.T) {
	eachUser(t, func(t *testing.T, uid uint32) {
		own, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		r := startAdapter(t, uid, spec{Traced: true}).beside("uname", "-n")
		mustSucceed(t, r)
		if r.output() != own {
			t.Errorf("what nobody traces sees the hostname %q", r.output())
		}
	})
}
