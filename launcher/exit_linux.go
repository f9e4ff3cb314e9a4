package launcher

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Exit ends this process in the way s says. A signal is raised again, so that a shell sees it; without a second core.
func (s ExitStatus) Exit() {
	if s.Signal == 0 {
		os.Exit(s.Code)
	}
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	runtime.LockOSThread()
	setAction(s.Signal, action{})
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil)
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), s.Signal)
	os.Exit(128 + int(s.Signal)) // a signal that does not end by default
}
