//go:build linux

package target

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"podstep.dev/internal/wire"
)

// Describe tells what a process in the target sees; the environment only when asked for. What may not be read is a
// *wire.Refusal.
func (t *Target) Describe(environment bool) (wire.Description, error) {
	var d wire.Description
	var err error
	if d.Hostname, err = t.Hostname(); err != nil {
		return d, refuse("read the hostname", err)
	}
	if d.Addresses, err = t.Addresses(); err != nil {
		return d, refuse("list the addresses", err)
	}
	conf, err := fs.ReadFile(t.Files(), "etc/resolv.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, refuse("read etc/resolv.conf", err)
	}
	d.ResolvConf = string(conf)
	if environment {
		if d.Environment, err = t.Environment(); err != nil {
			return d, refuse("read the environment", err)
		}
	}
	return d, nil
}

func refuse(what string, err error) error {
	r := &wire.Refusal{Errno: syscall.EIO, Text: fmt.Sprintf("%s of the target: %v", what, err)}
	errors.As(err, &r.Errno)
	if errors.Is(err, fs.ErrPermission) {
		r.Reason = wire.ReasonDenied
	}
	return r
}
