package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/fault"
	"podstep.dev/launcher/intercept/seccomp"
)

// platform are the checks of the kernel.
func platform() []Check {
	return []Check{
		{Group: GroupWorkstation, Name: "kernel", Run: func(context.Context) Finding { return kernel() }},
		{Group: GroupWorkstation, Name: "interception", Run: func(context.Context) Finding { return interception(seccomp.Probe()) }},
		{Group: GroupWorkstation, Name: "ptrace", Run: func(context.Context) Finding {
			text, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
			return yama(strings.TrimSpace(string(text)), err, mayTrace())
		}},
	}
}

func kernel() Finding {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Finding{State: Warn, Found: fmt.Sprintf("the kernel does not say its version: %v", err)}
	}
	release := unix.ByteSliceToString(name.Release[:])
	found := fmt.Sprintf("Linux %s, %s", release, runtime.GOARCH)
	if strings.Contains(strings.ToLower(release), "microsoft") {
		found += " (WSL)"
	}
	return Finding{State: OK, Found: found}
}

// interception is what the launcher's own probe says.
func interception(err error) Finding {
	if err == nil {
		return Finding{State: OK, Found: "seccomp user notification, ADDFD_SEND and pidfd_getfd work"}
	}
	f := fault.New(fault.KernelLacks, "this kernel or sandbox cannot intercept a program", err)
	if errors.Is(err, unix.EBUSY) {
		f.Hint = "This shell runs under another seccomp supervisor (a sandbox, or podstep itself). Start the editor outside of it."
	}
	return Of(Fail, f)
}

// yama judges /proc/sys/kernel/yama/ptrace_scope (Documentation/admin-guide/LSM/Yama.rst): 1 lets ancestors look into a
// process, which is all that podstep and the debuggers need, 2 only who has SYS_PTRACE, 3 nobody.
func yama(scope string, err error, mayTrace bool) Finding {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Finding{State: OK, Found: "not restricted (no Yama)"}
	case err != nil:
		return Finding{State: Warn, Found: fmt.Sprintf("it cannot be seen whether ptrace is restricted: %v", err)}
	case scope == "0" || scope == "1" || scope == "2" && mayTrace:
		return Finding{State: OK, Found: "allowed for what podstep starts (Yama " + scope + ")"}
	}
	return Finding{
		State: Fail, Found: "Yama lets no ordinary user debug a program (ptrace_scope " + scope + ")",
		Do: "Ask the administrator of this machine for: sysctl kernel.yama.ptrace_scope=1 (3 stays until the next boot).",
	}
}

// mayTrace tells whether this process has SYS_PTRACE in effect.
func mayTrace() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_PTRACE) != 0
}
