//go:build linux

package intercept

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"podstep.dev/launcher/intercept/seccomp"
)

// watch receives the notifications of one filter. Its one goroutine, the receiver, stays on one thread: a second
// receiver makes the common case of one running thread slower. It never blocks on anything but the next notification.
type watch struct {
	s         *Supervisor
	processes *processes

	mu     sync.RWMutex // write-locked to close fd: answers may come when the receiver is gone
	fd     int          // the listener
	closed bool
}

// send answers a notification. It is ENOENT when the call is gone, or the receiver.
func (w *watch) send(r *seccomp.Resp) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return unix.ENOENT
	}
	return seccomp.Send(w.fd, r)
}

// sendFD is send with a descriptor.
func (w *watch) sendFD(id uint64, fd int, closeOnExec bool) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return unix.ENOENT
	}
	return seccomp.SendFD(w.fd, id, fd, closeOnExec)
}

// waits reports whether a notification's task waits for its answer.
func (w *watch) waits(id uint64) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return !w.closed && seccomp.Valid(w.fd, id)
}

// close closes listener and drops the calls that are parked.
func (w *watch) close(listener *os.File) {
	w.mu.Lock()
	w.closed = true
	_ = listener.Close()
	w.mu.Unlock()
	w.s.waits.check()
	w.processes.close()
}

// receive handles notifications until no task is left or wake is readable.
func (w *watch) receive(ctx context.Context, wake int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := seccomp.SyncWakeUp(w.fd); err != nil {
		w.s.log.Info("no synchronous wake-up; calls cost more", zap.Error(err))
	}
	ready := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	var n seccomp.Notif
	for {
		ready[0].Revents, ready[1].Revents = 0, 0
		if _, err := unix.Poll(ready, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for a seccomp notification: %w", err)
		}
		switch {
		case ready[1].Revents != 0:
			return nil
		case ready[0].Revents&unix.POLLIN != 0:
			if err := seccomp.Receive(w.fd, &n); err == nil {
				w.handle(ctx, &call{Notif: n, w: w})
			} else if !errors.Is(err, unix.ENOENT) { // ENOENT: its task went away meanwhile
				return fmt.Errorf("receive seccomp notification: %w", err)
			}
		case ready[0].Revents != 0: // POLLHUP: no task is left
			return nil
		}
	}
}

// handle answers c, or hands it on to a goroutine that will. A defect must not hold the debuggee for ever, nor let it
// out on this machine's network.
func (w *watch) handle(ctx context.Context, c *call) {
	defer func() {
		if r := recover(); r != nil {
			w.s.log.Error("defect while answering a call", zap.Int32("nr", c.Data.Nr), zap.Any("panic", r), zap.Stack("stack"))
			if c.Data.Nr == unix.SYS_CONNECT {
				c.fail(unix.EHOSTUNREACH)
			} else {
				c.carryOn()
			}
		}
	}()
	w.s.waits.forgetTask(c.Pid) // a task waits in one call at a time: an older one of its was interrupted
	if c.Data.Nr == unix.SYS_EXECVE || c.Data.Nr == unix.SYS_EXECVEAT {
		w.processes.exec(int(c.Pid))
		c.carryOn()
		return
	}
	if w.processes.scope == Traced && !w.processes.intercepted(int(c.Pid)) {
		c.carryOn()
		return
	}
	w.s.dispatch(ctx, c)
}

// dispatch is the table of the calls that the filter notifies.
func (s *Supervisor) dispatch(ctx context.Context, c *call) {
	switch c.Data.Nr {
	case unix.SYS_CONNECT:
		s.connect(ctx, c)
	case unix.SYS_BIND:
		s.bind(c)
	case unix.SYS_LISTEN:
		s.listen(ctx, c)
	case unix.SYS_ACCEPT:
		s.accept(c, 0)
	case unix.SYS_ACCEPT4:
		s.accept(c, int(c.arg(3)))
	case unix.SYS_GETPEERNAME:
		s.name(c, peerName)
	case unix.SYS_GETSOCKNAME:
		s.name(c, ownName)
	case unix.SYS_GETSOCKOPT:
		s.socketError(c)
	case unix.SYS_SENDTO:
		s.sendto(ctx, c)
	case unix.SYS_SENDMSG:
		s.sendmsg(ctx, c)
	case unix.SYS_SENDMMSG:
		s.sendmmsg(ctx, c)
	case unix.SYS_RECVFROM:
		s.recvfrom(c)
	case unix.SYS_RECVMSG:
		s.recvmsg(c)
	case unix.SYS_RECVMMSG:
		s.recvmmsg(c)
	case unix.SYS_UNAME:
		s.uname(c)
	default:
		c.carryOn()
	}
}
