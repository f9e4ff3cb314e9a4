//go:build !linux

package listen

import (
	"errors"
	"fmt"
	"net"
)

// sameUser refuses everybody: only Linux tells whose a loopback connection is.
func sameUser(net.Conn) error {
	return fmt.Errorf("find the connection's user: %w", errors.ErrUnsupported)
}
