// Package place says what a session needs of wherever its target runs: to find it, to follow it as it moves, and to get a
// link to an agent beside it. It has only the interfaces: a process on this machine and a workload in a cluster have
// nothing else in common.
package place

import (
	"context"
	"errors"
	"io"

	"podstep.dev/adapter/config"
)

// Provider finds targets.
type Provider interface {
	// Find looks the block's target up and checks what can be checked before anything is touched. say receives lines for
	// the person, without a line end, and may be called until the target's Close has returned. The caller closes the
	// target. Errors are *fault.Fault.
	Find(ctx context.Context, m config.Mirror, say func(string)) (Target, error)
}

// Target is a target that was found.
type Target interface {
	// Places sends the places where the target runs: the first set at once, then each set that differs from the one before.
	// A set may be empty while a pod is being replaced. The channel is closed when ctx ends or the target is gone for good.
	// It may be called once.
	Places(ctx context.Context) <-chan []Place
	// Err says why the channel was closed before ctx ended: a *fault.Fault. It may be called after that.
	Err() error
	// Close removes what was made for this session and does not go with its links. The links are closed before.
	Close() error
}

// Place is one process that the debuggee stands in for: on this machine, or in one start of a pod's container.
type Place interface {
	// ID differs from that of every other place there ever is: a container that was started again is another place.
	ID() string
	// String names it for the person: "pod/web-0".
	String() string
	// Lasting says that a lost link is worth another Attach, since place and agent may still be there.
	Lasting() bool
	// Incoming is what the agent must know to take this place's incoming traffic.
	Incoming() Incoming
	// Attach returns the connection to an agent beside the place, before its greeting, starting one if need be. Close ends
	// the link, and the agent if it was started for this link alone, and waits. ctx bounds only Attach. Errors are
	// *fault.Fault; those that may go by themselves are Temporary.
	Attach(ctx context.Context) (io.ReadWriteCloser, error)
}

// Incoming is what is special about the incoming traffic of a place. The zero value is: nothing.
type Incoming struct {
	// Probes are the paths of the HTTP probes that the kubelet makes, by the target's port. The target answers them always.
	Probes map[uint16][]string
	// Loopback says that a sidecar hands the traffic on over the loopback interface, and that it is to be taken only there.
	Loopback bool
}

// temporary marks an error as one that may go by itself.
type temporary struct{ error }

func (t temporary) Unwrap() error { return t.error }

// Temporary marks err: the same Attach may succeed later, for example because the API server does not answer.
func Temporary(err error) error { return temporary{err} }

// IsTemporary reports whether err was marked.
func IsTemporary(err error) bool {
	var t temporary
	return errors.As(err, &t)
}
