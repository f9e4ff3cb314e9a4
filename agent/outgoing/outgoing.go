// Package outgoing does for the debuggee what a process in the target would do itself: it connects from the target's
// network namespace and resolves names as the target's resolver does. The caller runs in that namespace.
package outgoing

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// Stream is a stream that the adapter opened and nobody has answered. *mux.Stream is one.
type Stream interface {
	splice.Conn
	Reset()
	SetReadDeadline(time.Time) error
	Opened(wire.Answer) error
	Refuse(*wire.Refusal) error
}

// Options of New. The zero value works.
type Options struct {
	// Log receives a line for each dial and each question that fails. If nil, nothing is logged.
	Log *zap.Logger
	// Files are the target's: etc/resolv.conf and etc/hosts are read, again when they change. If nil, there are none.
	Files fs.FS
	// Hostname is the target's own, which resolves to Addresses. If nil, there is none.
	Hostname func() (string, error)
	// Addresses are the target's own. If nil, there are none.
	Addresses func() ([]netip.Addr, error)
	// Questions is how many DNS questions are under way at once, of all streams; more wait. If zero, 256.
	Questions int
	// Buffers are those of joined connections. If nil, nothing bounds them.
	Buffers *splice.Buffers
}

// Outgoing serves streams. It starts no goroutines that outlive a call.
type Outgoing struct {
	log       *zap.Logger
	buffers   *splice.Buffers
	resolver  *resolver
	questions chan struct{}
}

// New returns the outgoing side of a target.
func New(opts Options) *Outgoing {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Files == nil {
		opts.Files = noFiles{}
	}
	if opts.Hostname == nil {
		opts.Hostname = func() (string, error) { return "", nil }
	}
	if opts.Addresses == nil {
		opts.Addresses = func() ([]netip.Addr, error) { return nil, nil }
	}
	if opts.Questions == 0 {
		opts.Questions = 256
	}
	return &Outgoing{log: opts.Log, buffers: opts.Buffers, resolver: newResolver(opts), questions: make(chan struct{}, opts.Questions)}
}

// refusal is the kernel's verdict for the wire.
func refusal(err error) *wire.Refusal {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
	case errors.Is(err, os.ErrDeadlineExceeded):
		errno = syscall.ETIMEDOUT
	default:
		errno = syscall.ECONNABORTED
	}
	return &wire.Refusal{Errno: errno, Text: err.Error()}
}

// noFiles is an empty file system.
type noFiles struct{}

func (noFiles) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
