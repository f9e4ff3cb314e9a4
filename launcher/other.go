//go:build !linux

package launcher

import (
	"context"
	"net/netip"
	"os"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/splice"
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

// Exit ends this process with s's code.
func (s ExitStatus) Exit() { os.Exit(s.Code) }

// KeepOptions of Keep.
type KeepOptions struct {
	SessionDir, Mark string
	Foreground       bool
}

// Keep fails with fault.NotLinux.
func Keep(context.Context, []string, KeepOptions) error { return notLinux() }

// Host serves the launchers of one session. There is none here.
type Host struct{}

// Listen fails with fault.NotLinux.
func Listen(context.Context, string, Options) (*Host, error) { return nil, notLinux() }

// Command is argv itself.
func (h *Host) Command(argv []string, _ How) []string { return argv }

// Deliver fails with fault.NotLinux.
func (h *Host) Deliver(context.Context, uint16, netip.AddrPort, netip.AddrPort) (splice.Conn, error) {
	return nil, notLinux()
}

// Close does nothing.
func (h *Host) Close() error { return nil }

// ExecOptions of Exec.
type ExecOptions struct {
	Session       string
	Handover      int
	Traced, NoEnv bool
}

// Exec fails with fault.NotLinux.
func Exec(context.Context, []string, ExecOptions) error { return notLinux() }
