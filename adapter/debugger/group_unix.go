//go:build unix

package debugger

import (
	"os/exec"
	"syscall"
)

// ownGroup makes cmd's cancellation end what it started, too: the go command starts compilers.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
