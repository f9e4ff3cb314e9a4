package main

import (
	"context"
	"io"
	"runtime"

	"go.uber.org/zap"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

// newSessions starts sessions of this machine.
func newSessions() sessions {
	if runtime.GOOS != "linux" {
		notLinux := fault.New(fault.NotLinux, "podstep cannot borrow a target from this machine", nil)
		return sessions{
			dap: func(context.Context, io.ReadWriteCloser, *zap.Logger) error { return notLinux },
			run: func(context.Context, config.Mirror, []string, *zap.Logger) (int, error) { return 0, notLinux },
		}
	}
	missing := fault.New(fault.Internal, "sessions are not part of this build", nil)
	return sessions{
		dap: func(context.Context, io.ReadWriteCloser, *zap.Logger) error { return missing },
		run: func(context.Context, config.Mirror, []string, *zap.Logger) (int, error) { return 0, missing },
	}
}
