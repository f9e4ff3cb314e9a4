//go:build !linux

package splice

import (
	"errors"
	"net"
)

// Pipe moves bytes from one socket to another inside the kernel, which only Linux does.
type Pipe struct{}

// OpenPipe returns nil: bytes are to be copied.
func (*Buffers) OpenPipe() *Pipe { return nil }

// Close does nothing.
func (*Pipe) Close() {}

func (*Pipe) fill(*net.TCPConn, int64) (int, error) { return 0, errors.ErrUnsupported }
func (*Pipe) drain(*net.TCPConn) error              { return errors.ErrUnsupported }
