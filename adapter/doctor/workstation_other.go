//go:build !linux

package doctor

import (
	"context"
	"runtime"

	"podstep.dev/internal/fault"
)

// platform is the one check that fails.
func platform() []Check {
	return []Check{{Group: GroupWorkstation, Name: "kernel", Run: func(context.Context) Finding {
		return Of(Fail, fault.New(fault.NotLinux, "this machine runs "+runtime.GOOS, nil))
	}}}
}
