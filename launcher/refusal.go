package launcher

import (
	"errors"
	"fmt"
	"syscall"

	"podstep.dev/internal/wire"
)

const errNotSupported = syscall.ENOTSUP

// refusal is err as the other end of a stream gets it: the errno inside, or EHOSTUNREACH as intercept.Link has it.
func refusal(err error) *wire.Refusal {
	var r *wire.Refusal
	if errors.As(err, &r) {
		return r
	}
	errno := syscall.EHOSTUNREACH
	errors.As(err, &errno)
	return &wire.Refusal{Errno: errno, Text: err.Error()}
}

// refused says that no debuggee listens.
func refused(port uint16) error {
	return fmt.Errorf("no debuggee listens on port %d: %w", port, syscall.ECONNREFUSED)
}
