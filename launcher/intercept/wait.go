//go:build linux

package intercept

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// checkEvery is how often parked calls are looked at while there are any: an interrupted one is not told.
const checkEvery = 250 * time.Millisecond

// waits is where calls that block are parked: one epoll set and one goroutine for all of them, run. A parked call keeps
// its duplicate of the socket, as a thread that blocks in the kernel keeps the socket open, too.
type waits struct {
	epoll, wake int
	count       atomic.Int32

	mu      sync.Mutex
	stopped bool
	parked  map[int32]*parked // by id
	byTask  map[uint32]*parked
	nextID  int32
}

// parked is a call that waits until fd is readable.
type parked struct {
	id       int32
	c        *call
	fd       int
	deadline time.Time // zero: none; then the call gets EAGAIN, as after SO_RCVTIMEO
	try      func()    // called with the call un-parked, in a goroutine of its own; may park it again
}

func newWaits() (*waits, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll set: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	w := &waits{epoll: epoll, wake: wake, parked: map[int32]*parked{}, byTask: map[uint32]*parked{}}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		w.close()
		return nil, fmt.Errorf("watch eventfd: %w", err)
	}
	return w, nil
}

// close closes the set, after run.
func (w *waits) close() {
	_ = unix.Close(w.epoll)
	_ = unix.Close(w.wake)
}

// stop ends run and drops every parked call unanswered.
func (w *waits) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.ring()
}

func (w *waits) ring() { _, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// park makes p wait. After stop it is dropped.
func (w *waits) park(p *parked) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nextID = max(1, w.nextID+1)
	p.id = w.nextID
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: p.id}
	if w.stopped || unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, p.fd, &event) != nil {
		p.c.fail(unix.EIO)
		return
	}
	w.parked[p.id] = p
	w.byTask[p.c.Pid] = p
	if w.count.Add(1) == 1 || !p.deadline.IsZero() {
		w.ring() // run sleeps without a limit while there is nothing to look after
	}
}

// takeLocked un-parks p: whoever calls owns its call now.
func (w *waits) takeLocked(p *parked) {
	_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, p.fd, nil)
	delete(w.parked, p.id)
	if w.byTask[p.c.Pid] == p {
		delete(w.byTask, p.c.Pid)
	}
	w.count.Add(-1)
}

// forgetTask drops the parked call of a task that makes another call: it was interrupted.
func (w *waits) forgetTask(tid uint32) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.byTask[tid]; p != nil {
		w.takeLocked(p)
		p.c.release()
	}
}

// check drops the parked calls that nobody waits for any more, so that their duplicates hold no socket open.
func (w *waits) check() {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parked {
		switch {
		case !p.c.waiting():
			w.takeLocked(p)
			p.c.release()
		case !p.deadline.IsZero() && !time.Now().Before(p.deadline):
			w.takeLocked(p)
			p.c.fail(unix.EAGAIN)
		}
	}
}

// run hands calls whose socket is readable to goroutines of start, until stop.
func (w *waits) run(start func(func()) bool) {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, w.timeout())
		if err != nil && !errors.Is(err, unix.EINTR) {
			n = 0
		}
		w.mu.Lock()
		if w.stopped {
			for _, p := range w.parked {
				w.takeLocked(p)
				p.c.release()
			}
			w.mu.Unlock()
			return
		}
		var ready []*parked
		for _, e := range events[:max(n, 0)] {
			if e.Fd == 0 {
				var b [8]byte
				_, _ = unix.Read(w.wake, b[:])
			} else if p := w.parked[e.Fd]; p != nil {
				w.takeLocked(p)
				ready = append(ready, p)
			}
		}
		w.mu.Unlock()
		for _, p := range ready {
			if !start(p.try) {
				p.c.release()
			}
		}
		w.check()
	}
}

// timeout is how long run may sleep, in ms; -1 for ever.
func (w *waits) timeout() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.parked) == 0 {
		return -1
	}
	sleep := checkEvery
	for _, p := range w.parked {
		if !p.deadline.IsZero() {
			sleep = min(sleep, max(0, time.Until(p.deadline)))
		}
	}
	return int((sleep + time.Millisecond - 1) / time.Millisecond)
}

// readable reports whether fd has something to take now.
func readable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

// socketTimeout is a socket's SO_RCVTIMEO or SO_SNDTIMEO; zero: none.
func socketTimeout(fd, name int) time.Duration {
	tv, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, name)
	if err != nil {
		return 0
	}
	return time.Duration(tv.Nano())
}

// deadline is when a wait on fd that begins now ends; zero: never.
func deadline(fd int) time.Time {
	if d := socketTimeout(fd, unix.SO_RCVTIMEO); d > 0 {
		return time.Now().Add(d)
	}
	return time.Time{}
}
