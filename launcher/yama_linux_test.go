package launcher

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/testkit"
)

// goBlind makes every look into another process fail with EPERM in this process and what it starts, which is what Yama
// does to one that is no ancestor. The kernel enforces it: by a filter on all threads, without a listener.
func goBlind() error {
	var filter []unix.SockFilter
	for _, nr := range []uint32{unix.SYS_PIDFD_GETFD, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PTRACE} {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// The thread on which the kernel was probed has a filter of its own, and is about to end.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 10_000 {
		tid, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
		switch {
		case e != 0:
			return fmt.Errorf("install filter: %w", e)
		case tid == 0:
			return nil
		}
		<-tick.C
	}
	return errors.New("install filter: a thread has another one")
}

const fetch = `
import urllib.request
try: print(urllib.request.urlopen("http://10.201.2.3/", timeout=20).read().decode())
except OSError as e: print("failed", e)`

func TestWhatRunsBesideNeedsNoLookByTheAdapter(t *testing.T) {
	for name, test := range map[string]struct {
		misplaced bool
		want      bool
	}{
		"supervised by its parent half": {false, true},
		// The control: the stand-in does refuse, and a refused look fails closed.
		"supervised by the adapter": {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			eachUser(t, func(t *testing.T, uid uint32) {
				a := startAdapter(t, uid, spec{Blind: true, Misplaced: test.misplaced})
				r := a.beside(python, "-c", fetch)
				r.wait()
				if got := r.output() == "pod says / to 10.201.2.3"; got != test.want {
					t.Errorf("reached the pod: %v, want %v; output %q", got, test.want, r.output())
				}
			})
		})
	}
}

func TestWhatRunsBelowStaysBelow(t *testing.T) {
	// A daemon by double fork is supervised by the adapter all its life, so it has to stay below it.
	eachUser(t, func(t *testing.T, uid uint32) {
		const wait = `
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
print(os.getpid(), os.getppid(), flush=True)
signal.sigwait({signal.SIGUSR1})`
		r := startBelow(t, uid, "sh", "-c", `(setsid `+python+` -c "$1" &); sleep 1000`, "sh", wait+fetch)
		var pid, parent int
		testkit.Eventually(t, "the daemon is nobody's child", func() bool {
			n, _ := fmt.Sscan(r.output(), &pid, &parent)
			if n != 2 {
				return false
			}
			now, err := readTask(pid)
			return err == nil && now.ppid == r.adapter.keeper()
		})
		if daemon := (peer{pid: pid, pidfd: -1}); !daemon.below(r.adapter.cmd.Process.Pid) {
			t.Errorf("process %d is not below the adapter, Yama would hide it", pid)
		}
		if err := unix.Kill(pid, unix.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the daemon reaches the pod", func() bool { return strings.HasSuffix(r.output(), "pod says / to 10.201.2.3") })
	})
}
