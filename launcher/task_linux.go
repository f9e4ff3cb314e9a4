package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// task is a process as one look at /proc saw it.
type task struct {
	pid, ppid int
	state     byte
	start     uint64 // clock ticks after boot; with pid it names the process for good
}

// readTask reads one process. The error is fs.ErrNotExist or ESRCH when there is none.
func readTask(pid int) (task, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return task{}, fmt.Errorf("read process: %w", err)
	}
	// proc(5): "pid (comm) state ppid ... starttime"; comm may hold anything, so count from its last parenthesis.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return task{}, fmt.Errorf("read process %d: %d fields", pid, len(fields))
	}
	ppid, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return task{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return task{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	return task{pid: pid, ppid: ppid, state: fields[0][0], start: start}, nil
}

// readTasks reads every process that this one can see. It needs no CONFIG_PROC_CHILDREN.
func readTasks() ([]task, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	var all []task
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if t, err := readTask(pid); err == nil {
			all = append(all, t)
		}
	}
	return all, nil
}

// below returns the living descendants of pid, parents first: a parent that starts its children again is ended before them.
func below(all []task, pid int) []task {
	children := map[int][]task{}
	for _, t := range all {
		children[t.ppid] = append(children[t.ppid], t)
	}
	var found []task
	queue := children[pid]
	for len(queue) > 0 {
		t := queue[0]
		queue = append(queue[1:], children[t.pid]...)
		if t.alive() {
			found = append(found, t)
		}
	}
	return found
}

// alive says whether there is something to end.
func (t task) alive() bool { return t.state != 'Z' && t.state != 'X' }

// kill ends the process that t is, and never another one that got its pid since. It is gone already: nil.
func (t task) kill() error {
	fd, err := unix.PidfdOpen(t.pid, 0)
	if err != nil {
		return ignoreGone(err)
	}
	defer unix.Close(fd)
	if again, err := readTask(t.pid); err != nil || again.start != t.start {
		return nil
	}
	return ignoreGone(unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0))
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}
