//go:build linux

package intercept

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// process is one process below a filter. Its id alone proves nothing, because ids are used again; the pidfd does.
type process struct {
	id          int
	intercepted bool // the receiver's

	mu    sync.Mutex
	pidfd int // -1 once it is closed
}

// descriptor duplicates the process's descriptor fd: the same open file. The caller closes it.
// ESRCH: the process is gone. EBADF: it has no such descriptor.
func (p *process) descriptor(fd int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return -1, unix.ESRCH
	}
	d, _, e := unix.RawSyscall(unix.SYS_PIDFD_GETFD, uintptr(p.pidfd), uintptr(fd), 0)
	if e != 0 {
		return -1, e
	}
	return int(d), nil
}

func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return false
	}
	_, _, e := unix.RawSyscall6(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(p.pidfd), 0, 0, 0, 0, 0)
	return e != unix.ESRCH
}

func (p *process) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd >= 0 {
		_ = unix.Close(p.pidfd)
	}
	p.pidfd = -1
}

// processes are those below one filter that were heard of. Only the receiver uses them.
type processes struct {
	scope    Scope
	byID     map[int]*process
	byThread map[int]*process
	above    map[int]bool // the debugger's own ancestors (scope Traced)
	sweepAt  int          // how many entries call for a sweep
}

func newProcesses(scope Scope) *processes {
	return &processes{scope: scope, byID: map[int]*process{}, byThread: map[int]*process{}, above: map[int]bool{}, sweepAt: 256}
}

func (t *processes) close() {
	for _, p := range t.byID {
		p.close()
	}
}

// find returns the process of a thread. A cached answer is proved again: the thread still belongs to the process, and
// the process still lives.
func (t *processes) find(tid int) (*process, error) {
	if p := t.byThread[tid]; p != nil && p.alive() {
		if tid == p.id {
			return p, nil
		}
		if _, _, e := unix.RawSyscall(unix.SYS_TGKILL, uintptr(p.id), uintptr(tid), 0); e != unix.ESRCH {
			return p, nil
		}
	}
	st, err := readStatus(tid)
	if err != nil {
		return nil, err
	}
	p := t.byID[st.process]
	if p != nil && !p.alive() {
		t.drop(p)
		p = nil
	}
	if p == nil {
		if p, err = t.add(st); err != nil {
			return nil, err
		}
	}
	t.byThread[tid] = p
	return p, nil
}

func (t *processes) add(st status) (*process, error) {
	t.sweep()
	pidfd, err := unix.PidfdOpen(st.process, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", st.process, err)
	}
	p := &process{id: st.process, pidfd: pidfd, intercepted: t.scope == All}
	if t.scope == Traced && len(t.byID) == 0 && len(t.above) == 0 {
		t.noteAbove(st.parent) // the first one heard of is the debugger itself
	} else if t.scope == Traced {
		p.intercepted = t.inherits(st.parent)
	}
	t.byID[p.id] = p
	return p, nil
}

// sweep forgets dead processes when there are many entries.
func (t *processes) sweep() {
	if len(t.byThread) < t.sweepAt && len(t.byID) < t.sweepAt {
		return
	}
	for _, p := range t.byID {
		if !p.alive() {
			t.drop(p)
		}
	}
	for tid, p := range t.byThread {
		if _, _, e := unix.RawSyscall(unix.SYS_TGKILL, uintptr(p.id), uintptr(tid), 0); e == unix.ESRCH {
			delete(t.byThread, tid)
		}
	}
	t.sweepAt = max(256, 2*len(t.byThread), 2*len(t.byID))
}

func (t *processes) drop(p *process) {
	p.close()
	delete(t.byID, p.id)
	for tid, q := range t.byThread {
		if q == p {
			delete(t.byThread, tid)
		}
	}
}

// forget makes the next find look anew.
func (t *processes) forget(tid int) { delete(t.byThread, tid) }

// status is what /proc/TID/status says of a thread.
type status struct {
	process, parent, tracer int
}

func readStatus(tid int) (status, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return status{}, fmt.Errorf("status of task %d: %w", tid, err)
	}
	return status{field(b, "\nTgid:"), field(b, "\nPPid:"), field(b, "\nTracerPid:")}, nil
}

func field(b []byte, name string) int {
	_, rest, _ := bytes.Cut(b, []byte(name))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, _ := strconv.Atoi(string(bytes.TrimSpace(line)))
	return n
}
