package launcher

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"podstep.dev/internal/testkit"
)

// hydra is a tree of every awkward sort: a shell that waits, daemons by double fork in a session of their own, one with
// an empty environment, and one that is stopped. NUMBER names the test.
const hydra = `
setsid sh -c "sleep 1001 & sleep 1002 &" &
(setsid env -i sleep NUMBER &) &
sh -c 'kill -STOP $$' &
sleep 1005`

// eachUser runs test as root and as an ordinary user, or as the one that the tests run as.
func eachUser(t *testing.T, test func(t *testing.T, uid uint32)) {
	t.Run("own", func(t *testing.T) { test(t, uint32(os.Getuid())) })
	t.Run("ordinary", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("changing the user needs root; the own user is an ordinary one")
		}
		test(t, 12345)
	})
}

func hydraGrown(t *testing.T, a *adapter) {
	t.Helper()
	testkit.Eventually(t, "the tree grows", func() bool {
		sleeping, stopped := 0, 0
		for _, f := range a.processes() {
			if strings.HasPrefix(f.command, "sleep ") {
				sleeping++
			}
			if f.state == 'T' {
				stopped++
			}
		}
		return sleeping == 4 && stopped == 1
	})
}

// eachKept runs test with a hydra below a keeper, plain and under interception.
func eachKept(t *testing.T, test func(t *testing.T, a *adapter)) {
	for name, intercepted := range map[string]bool{"plain": false, "intercepted": true} {
		t.Run(name, func(t *testing.T) {
			eachUser(t, func(t *testing.T, uid uint32) {
				a := startAdapter(t, uid, spec{Argv: []string{"sh", "-c", hydra}, Intercepted: intercepted})
				hydraGrown(t, a)
				test(t, a)
			})
		})
	}
}

// besideHydra is a hydra in a terminal of its own, and a debugger below the adapter's keeper.
func besideHydra(t *testing.T, uid uint32) (a *adapter, r *ran) {
	t.Helper()
	a = startAdapter(t, uid, spec{Argv: []string{"tail", "-f", "/dev/null"}})
	r = a.beside("sh", "-c", hydra)
	hydraGrown(t, a)
	return a, r
}

func (a *adapter) keeper() int {
	a.t.Helper()
	return a.expect("the keeper's pid", func(w said) bool { return w.Keeper != 0 }).Keeper
}

func (a *adapter) exited() ExitStatus {
	a.t.Helper()
	return *a.expect("the program's end", func(w said) bool { return w.Exited != nil }).Exited
}

func TestKilledAdapterLeavesNothing(t *testing.T) {
	eachKept(t, func(t *testing.T, a *adapter) {
		a.kill(a.cmd.Process.Pid)
		a.mustVanish()
		a.mustRemoveDir()
	})
}

func TestKilledKeeperLeavesNothing(t *testing.T) {
	eachKept(t, func(t *testing.T, a *adapter) {
		a.kill(a.keeper())
		testkit.Eventually(t, "only the adapter is left", func() bool { return len(a.processes()) == 1 })
		a.expect("the loss of the keeper", func(w said) bool { return strings.Contains(w.Error, ErrKeeperLost.Error()) })
		if got, want := a.exited(), (ExitStatus{Signal: syscall.SIGKILL}); got != want {
			t.Errorf("program ended with %+v, want %+v", got, want)
		}
	})
}

func TestStoppedKeeperCannotHoldUpTheEnd(t *testing.T) {
	eachKept(t, func(t *testing.T, a *adapter) {
		if err := syscall.Kill(a.keeper(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := a.stdin.Close(); err != nil {
			t.Fatal(err)
		}
		a.mustVanish()
	})
}

func TestOrderlyEndLeavesTheSessionDirectory(t *testing.T) {
	eachKept(t, func(t *testing.T, a *adapter) {
		if err := a.stdin.Close(); err != nil {
			t.Fatal(err)
		}
		a.mustVanish()
		if _, err := os.Lstat(a.dir); err != nil {
			t.Errorf("the adapter removes its directory itself: %v", err)
		}
	})
}

func TestKilledProgramEndsWithItsSignal(t *testing.T) {
	eachKept(t, func(t *testing.T, a *adapter) {
		a.kill(a.expect("the program's pid", func(w said) bool { return w.Pid != 0 }).Pid)
		if got, want := a.exited(), (ExitStatus{Signal: syscall.SIGKILL}); got != want {
			t.Errorf("program ended with %+v, want %+v", got, want)
		}
		if len(a.processes()) < 3 {
			t.Error("what the program left behind runs until Kill")
		}
		if err := a.stdin.Close(); err != nil {
			t.Fatal(err)
		}
		a.mustVanish()
	})
}

func TestKilledAdapterEndsWhatRunsBeside(t *testing.T) {
	eachUser(t, func(t *testing.T, uid uint32) {
		a, r := besideHydra(t, uid)
		a.kill(a.cmd.Process.Pid)
		a.mustVanish()
		a.mustRemoveDir()
		r.wait()
	})
}

func TestKilledAdapterEndsWhatAStoppedParentHalfCannot(t *testing.T) {
	eachUser(t, func(t *testing.T, uid uint32) {
		a, r := besideHydra(t, uid)
		if err := syscall.Kill(r.cmd.Process.Pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		a.kill(a.cmd.Process.Pid)
		a.mustVanish()
		a.mustRemoveDir()
		r.wait()
	})
}

func TestKilledParentHalfLeavesNothing(t *testing.T) {
	eachUser(t, func(t *testing.T, uid uint32) {
		a, r := besideHydra(t, uid)
		a.kill(r.cmd.Process.Pid)
		r.wait()
		// The adapter, its keeper and the debugger.
		testkit.Eventually(t, "the debuggee and all of it ends", func() bool { return len(a.processes()) == 3 })
		// The session goes on.
		mustSucceed(t, a.beside("sh", "-c", "test $(uname -n) = web-0"))
	})
}

func TestKilledDebuggeeEndsItsParentHalf(t *testing.T) {
	eachUser(t, func(t *testing.T, uid uint32) {
		a, r := besideHydra(t, uid)
		a.kill(r.pid())
		if got, want := r.wait(), (ExitStatus{Signal: syscall.SIGKILL}); got != want {
			t.Errorf("the parent half ended with %+v, want %+v", got, want)
		}
		testkit.Eventually(t, "what the debuggee left behind ends", func() bool { return len(a.processes()) == 3 })
	})
}

func TestOrderlyEndEndsWhatRunsBeside(t *testing.T) {
	eachUser(t, func(t *testing.T, uid uint32) {
		a, r := besideHydra(t, uid)
		if err := a.stdin.Close(); err != nil {
			t.Fatal(err)
		}
		a.mustVanish()
		r.wait()
	})
}

func TestKeeperForwardsSignals(t *testing.T) {
	eachKept(t, func(t *testing.T, a *adapter) {
		if err := syscall.Kill(a.keeper(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		if got, want := a.exited(), (ExitStatus{Signal: syscall.SIGUSR1}); got != want {
			t.Errorf("program ended with %+v, want %+v", got, want)
		}
	})
}
