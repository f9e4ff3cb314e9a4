//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"syscall"

	"podstep.dev/internal/wire"
)

// Taken says who holds a port.
func Taken(port uint16, h wire.Holder) *wire.Refusal {
	name := h.Name
	if name == "" {
		name = "another session"
	}
	text := fmt.Sprintf("port %d is stolen by %s", port, name)
	if !h.Since.IsZero() {
		text += " since " + h.Since.UTC().Format("15:04") + " UTC"
	}
	return &wire.Refusal{Errno: syscall.EBUSY, Reason: wire.ReasonTaken, Text: text}
}

// lacking says which permission or part of the kernel is missing. Errors that say neither are returned wrapped.
func lacking(what string, err error) error {
	needs := ""
	var s *step
	if errors.As(err, &s) {
		needs = s.needs
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return fmt.Errorf("%s: %w", what, err)
	}
	switch errno {
	case syscall.EPERM, syscall.EACCES:
		return &wire.Refusal{Errno: errno, Reason: wire.ReasonDenied, Text: what + ": the agent lacks the capability NET_ADMIN"}
	case syscall.ENOENT, syscall.EOPNOTSUPP, syscall.EINVAL, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT, syscall.ENOPROTOOPT:
		if needs != "" {
			return &wire.Refusal{Errno: errno, Reason: wire.ReasonUnsupported, Text: what + ": the kernel lacks " + needs}
		}
	}
	return &wire.Refusal{Errno: errno, Text: fmt.Sprintf("%s: %v", what, err)}
}
