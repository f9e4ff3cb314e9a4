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

func TestKilledAdapterLeavesNothing(t *testing.T) {
	eachUser(t, func(t *testing.T, uid uint32) {
		a := startAdapter(t, uid, spec{Argv: []string{"sh", "-c", hydra}})
		hydraGrown(t, a)
		a.kill(a.cmd.Process.Pid)
		a.mustVanish()
		a.mustRemoveDir()
	})
}

func TestKilledKeeperLeavesNothing(t *testing.T) {
	eachUser(t, func(t *testing.T, uid uint32) {
		a := startAdapter(t, uid, spec{Argv: []string{"sh", "-c", hydra}})
		hydraGrown(t, a)
		a.kill(a.expect("the keeper's pid", func(w said) bool { return w.Keeper != 0 }).Keeper)
		testkit.Eventually(t, "only the adapter is left", func() bool { return len(a.processes()) == 1 })
		a.expect("the loss of the keeper", func(w said) bool { return strings.Contains(w.Error, ErrKeeperLost.Error()) })
		status := *a.expect("the program's end", func(w said) bool { return w.Exited != nil }).Exited
		if status.Signal != syscall.SIGKILL {
			t.Errorf("program ended with %+v", status)
		}
	})
}

func TestOrderlyEndLeavesTheSessionDirectory(t *testing.T) {
	a := startAdapter(t, uint32(os.Getuid()), spec{Argv: []string{"sh", "-c", hydra}})
	hydraGrown(t, a)
	if err := a.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	a.mustVanish()
	if _, err := os.Lstat(a.dir); err != nil {
		t.Errorf("the adapter removes its directory itself: %v", err)
	}
}

func TestKilledProgramEndsWithItsSignal(t *testing.T) {
	a := startAdapter(t, uint32(os.Getuid()), spec{Argv: []string{"sh", "-c", hydra}})
	hydraGrown(t, a)
	a.kill(a.expect("the program's pid", func(w said) bool { return w.Pid != 0 }).Pid)
	status := *a.expect("the program's end", func(w said) bool { return w.Exited != nil }).Exited
	if status.Signal != syscall.SIGKILL {
		t.Errorf("program ended with %+v", status)
	}
	if err := a.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	a.mustVanish()
}
