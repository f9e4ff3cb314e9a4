//go:build linux

package intercept

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"podstep.dev/launcher/intercept/seccomp"
)

// call is one notification under way. Whoever has it answers it once, with carryOn, result, fail or hand.
//
// Duplicates of the debuggee's descriptors that were taken for it are closed before the answer: were one open while the
// debuggee runs, a close of the debuggee's would not close the socket, and its epoll set would report a dead one.
type call struct {
	seccomp.Notif
	w    *watch
	dups []int
}

// place says where a socket was seen: a descriptor of a process. It may be another socket by the next look.
type place struct {
	process *process
	fd      int
}

func (c *call) arg(i int) uint64 { return c.Data.Args[i] }

// descriptor is the first argument, which is an int.
func (c *call) descriptor() int { return int(int32(uint32(c.arg(0)))) }

// dup duplicates the descriptor that the call is about: the same open file. The answer closes it.
// EBADF: the debuggee has no such descriptor. Every other error means that we may not look.
func (c *call) dup() (int, error) {
	at, err := c.place()
	if err != nil {
		return -1, err
	}
	fd, err := at.process.descriptor(at.fd)
	if errors.Is(err, unix.ESRCH) { // the table's entry was another process of that id
		c.w.processes.forget(int(c.Pid))
		if at, err = c.place(); err != nil {
			return -1, err
		}
		fd, err = at.process.descriptor(at.fd)
	}
	if err != nil {
		return -1, err
	}
	c.dups = append(c.dups, fd)
	return fd, nil
}

// place says where the descriptor is that the call is about. Only the receiver may ask.
func (c *call) place() (place, error) {
	p, err := c.w.processes.find(int(c.Pid))
	if err != nil {
		return place{}, err
	}
	return place{p, c.descriptor()}, nil
}

// release closes the duplicates.
func (c *call) release() {
	for _, fd := range c.dups {
		_ = unix.Close(fd)
	}
	c.dups = c.dups[:0]
}

// carryOn lets the kernel run the call as if nothing had been.
func (c *call) carryOn() {
	c.release()
	_ = c.w.send(&seccomp.Resp{ID: c.ID, Flags: seccomp.Continue})
}

// result answers with v. It reports whether the answer was delivered: an interrupted call comes again.
func (c *call) result(v int) bool {
	c.release()
	return c.w.send(&seccomp.Resp{ID: c.ID, Val: int64(v)}) == nil
}

// fail answers with errno, and reports whether the answer was delivered. Zero is success.
func (c *call) fail(errno syscall.Errno) bool {
	c.release()
	return c.w.send(&seccomp.Resp{ID: c.ID, Error: -int32(errno)}) == nil
}

// hand answers with a duplicate of fd. It waits until the task runs, so the receiver must not call it.
func (c *call) hand(fd int, closeOnExec bool) error {
	c.release()
	return c.w.sendFD(c.ID, fd, closeOnExec)
}

// waiting reports whether the task still waits for the answer.
func (c *call) waiting() bool { return c.w.waits(c.ID) }

// errnoOf is the errno in err's chain, or EHOSTUNREACH: without a verdict of the pod's, the pod cannot be reached.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if err == nil {
		return 0
	}
	if errors.As(err, &errno) && errno != 0 {
		return errno
	}
	return unix.EHOSTUNREACH
}
