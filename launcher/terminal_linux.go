package launcher

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// terminal is this process's controlling terminal as descriptor 0 knows it.
type terminal struct{ fd int }

// terminalOf returns the terminal behind fd, or nil when there is none or it is not the controlling one.
func terminalOf(fd int) *terminal {
	t := &terminal{fd: fd}
	if _, err := t.foreground(); err != nil {
		return nil
	}
	return t
}

// foreground is the process group that reads the terminal and gets its Ctrl-C.
func (t *terminal) foreground() (int, error) {
	group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	if err != nil {
		return 0, fmt.Errorf("foreground of terminal: %w", err)
	}
	return group, nil
}

// setForeground may be called from the background: the SIGTTOU that would stop the caller is blocked meanwhile. It is
// not ignored, because that would be inherited.
func (t *terminal) setForeground(group int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var block, old unix.Sigset_t
	block.Val[0] = 1 << (unix.SIGTTOU - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &old); err != nil {
		return fmt.Errorf("set foreground of terminal: %w", err)
	}
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) }()
	if err := unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, group); err != nil {
		return fmt.Errorf("set foreground of terminal: %w", err)
	}
	return nil
}

// pass gives the terminal from one group to another if the first has it, and says whether it did.
func (t *terminal) pass(from, to int) bool {
	if t == nil {
		return false
	}
	if has, err := t.foreground(); err != nil || has != from {
		return false
	}
	return t.setForeground(to) == nil
}

// byTerminal says whether sig is one that a terminal's driver sends to a whole process group.
func byTerminal(sig unix.Signal) bool {
	switch sig {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH:
		return true
	}
	return false
}
