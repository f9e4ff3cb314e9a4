//go:build !linux

package launcher

import (
	"context"
	"os"

	"podstep.dev/internal/fault"
)

func notLinux() error { return fault.New(fault.NotLinux, "this machine does not run Linux", nil) }

// Tree is a program, its keeper and all that came of the program. There is none here.
type Tree struct{}

// Start fails with fault.NotLinux.
func Start(context.Context, Process) (*Tree, error) { return nil, notLinux() }

// Pid is 0.
func (t *Tree) Pid() int { return 0 }

// Wait fails with fault.NotLinux.
func (t *Tree) Wait() (ExitStatus, error) { return ExitStatus{}, notLinux() }

// Signal fails with fault.NotLinux.
func (t *Tree) Signal(os.Signal) error { return notLinux() }

// Kill does nothing.
func (t *Tree) Kill() error { return nil }

// KeepOptions of Keep.
type KeepOptions struct {
	SessionDir, Mark string
	Foreground       bool
}

// Keep fails with fault.NotLinux.
func Keep([]string, KeepOptions) error { return notLinux() }
