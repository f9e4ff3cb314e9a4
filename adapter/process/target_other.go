//go:build !linux

package process

import (
	"context"
	"runtime"

	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
)

// Find is a fault: only Linux has the namespaces that make a process a target.
func (p Provider) Find(context.Context, config.Mirror, func(string)) (place.Target, error) {
	return nil, fault.New(fault.NotLinux, "a process can be borrowed only on Linux, this is "+runtime.GOOS, nil)
}
