package launcher

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// notifyJobControl gives what a shell and the terminal tell a job, to be passed on to the program that stands for it:
// SIGCONT after fg and bg, SIGTSTP when the program runs since it was in the background (fg sends nothing to a job that
// runs, so the terminal is still this process's).
func notifyJobControl(control chan<- os.Signal) {
	signal.Notify(control, syscall.SIGCONT, syscall.SIGTSTP)
}

// suspendGroup stops this process's group, as the terminal would have, and returns when it goes on. In an orphaned group
// the kernel drops the SIGTSTP (nobody could continue it); then it returns at once.
func suspendGroup() {
	was := setAction(syscall.SIGTSTP, action{})
	defer setAction(syscall.SIGTSTP, was)
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	_ = syscall.Kill(0, syscall.SIGTSTP)
	// The stop may come a moment after kill(2) returned: another thread takes it.
	dropped := time.NewTimer(200 * time.Millisecond)
	defer dropped.Stop()
	select {
	case <-continued:
	case <-dropped.C:
	}
}
