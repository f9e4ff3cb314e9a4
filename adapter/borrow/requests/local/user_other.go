//go:build !linux

package local

import (
	"errors"
	"fmt"
	"net"
)

// checkUser refuses everybody: sessions are of Linux.
func checkUser(*net.UnixConn) error {
	return fmt.Errorf("find the connection's user: %w", errors.ErrUnsupported)
}
