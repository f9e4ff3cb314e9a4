package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/enter"
	"podstep.dev/internal/fault"
)

// heldTarget is a target that was looked at and cannot come to be another process.
type heldTarget struct {
	*enter.Target
	// name is "process 4242 (shop)".
	name string
	// owner is the uid it runs as, -1 if that may not be known.
	owner int
}

// hold checks that target can be a target at all: it is there, it may be looked into, it has a network of its own.
func hold(target config.Target) (*heldTarget, error) {
	name := fmt.Sprintf("process %d", target.PID)
	opened, err := enter.Open(target.PID)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil, fault.New(fault.NoTarget, name+" does not exist", nil)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return nil, fault.New(fault.NoTarget, fmt.Sprintf("%d is no process: it is a thread of one, or no number of a process", target.PID), nil)
	case err != nil:
		return nil, fault.New(fault.TargetForbidden, name+" may not be looked at", err)
	}
	held := &heldTarget{Target: opened, name: name, owner: -1}
	if err := held.check(); err != nil {
		_ = held.Close()
		return nil, err
	}
	return held, nil
}

func (h *heldTarget) check() error {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(h.Pid) + "/status")
	if err != nil && h.Alive() {
		return fault.New(fault.TargetForbidden, h.name+" is hidden from this user (the hidepid option of /proc)", err)
	}
	h.read(string(status))
	foreign, err := h.Foreign("net")
	// Asked last, so that all that was read is surely this process's.
	if !h.Alive() {
		return fault.New(fault.NoTarget, h.name+" has ended", nil)
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return h.forbidden(nil)
	case err != nil:
		return fault.New(fault.TargetForbidden, h.name+" may not be looked into", err)
	case !foreign:
		return fault.New(fault.TargetShared, h.name+" uses this machine's network", nil)
	}
	return nil
}

// read takes the program's name and owner from /proc/PID/status (proc_pid_status(5)).
func (h *heldTarget) read(status string) {
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		switch {
		case key == "Name":
			h.name += " (" + strings.TrimSpace(value) + ")"
		case key == "Uid" && len(fields) == 4:
			if uid, err := strconv.Atoi(fields[1]); err == nil {
				h.owner = uid
			}
		}
	}
}

// forbidden says why the target may not be entered.
func (h *heldTarget) forbidden(err error) *fault.Fault {
	me := os.Geteuid()
	if h.owner >= 0 && h.owner != me && me != 0 {
		return fault.New(fault.TargetForbidden, fmt.Sprintf("%s belongs to uid %d, and podstep runs as uid %d", h.name, h.owner, me), err)
	}
	return &fault.Fault{
		ID:   fault.TargetForbidden,
		What: fmt.Sprintf("the kernel does not let podstep (uid %d) enter %s", me, h.name),
		Hint: "Its namespaces were made by another user, or it hides itself (PR_SET_DUMPABLE). Run podstep as root, or choose a process in a user namespace of your own.",
		Err:  err,
	}
}

// enterFault says why the agent's program could not be started beside the target.
func (h *heldTarget) enterFault(err error, agent string) *fault.Fault {
	var refused *enter.Error
	switch {
	case !h.Alive():
		return fault.New(fault.NoTarget, h.name+" has ended", err)
	case !errors.As(err, &refused) && errors.Is(err, fs.ErrPermission):
		return h.forbidden(err)
	case errors.As(err, &refused) && refused.Step == "setns":
		return h.forbidden(err)
	}
	return fault.New(fault.AgentStart, "cannot run "+agent, err)
}
