package launcher

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// peer is the process at the other end of a unix connection.
type peer struct {
	// pid is 0 when it is in a pid namespace that this one does not see.
	pid int
	uid uint32
	// pidfd names the process for good. It is -1 when pid is 0.
	pidfd int
}

// peerOf asks the kernel who connected. The caller closes the peer.
func peerOf(conn *net.UnixConn) (peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peer{}, fmt.Errorf("ask for peer: %w", err)
	}
	p := peer{pidfd: -1}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failed != nil {
			return
		}
		p.pid, p.uid = int(cred.Pid), cred.Uid
		if p.pid == 0 {
			return
		}
		// Linux 6.5: a pidfd of the very process. Before, its pid may have been used again since it connected.
		if p.pidfd, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); failed != nil {
			p.pidfd, failed = unix.PidfdOpen(p.pid, 0)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return peer{}, fmt.Errorf("ask for peer: %w", err)
	}
	return p, nil
}

func (p peer) close() {
	if p.pidfd >= 0 {
		_ = unix.Close(p.pidfd)
	}
}

// ended waits up to d for the peer's end.
func (p peer) ended(d time.Duration) bool {
	if p.pidfd < 0 {
		return false
	}
	deadline := time.Now().Add(d)
	for {
		wait := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(wait, int(max(0, time.Until(deadline)).Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}

func (p peer) kill() {
	if p.pidfd >= 0 {
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0)
	}
}

// below reports whether the peer is a descendant of ancestor: only then may ancestor look into it under Yama
// (ptrace_scope 1, which walks real parents as this does).
func (p peer) below(ancestor int) bool {
	if p.pid == 0 {
		return false
	}
	t, err := readTask(p.pid)
	for err == nil && t.ppid > 0 && t.ppid != ancestor {
		var parent task
		if parent, err = readTask(t.ppid); err == nil && parent.start > t.start {
			return false // the pid was used again
		}
		t = parent
	}
	// What was read is the peer's line only if the peer lives: else its pid may have become another's.
	return err == nil && t.ppid == ancestor && !p.ended(0)
}
