//go:build !linux

package process

import (
	"context"
	"io"
	"runtime"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

// Attach is a fault: only Linux has the namespaces that make a process a target.
func (p Provider) Attach(context.Context, config.Target, func(string)) (io.ReadWriteCloser, error) {
	return nil, fault.New(fault.NotLinux, "a process can be borrowed only on Linux, this is "+runtime.GOOS, nil)
}
