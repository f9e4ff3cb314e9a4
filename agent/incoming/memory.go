//go:build linux

package incoming

import (
	"syscall"

	"podstep.dev/agent/incoming/capture"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// Memory is what the subscriptions of several sessions may take of the pod's memory together.
type Memory struct {
	firsts, mirrors *budget
	connections     int
	slots           chan struct{}
	buffers         *splice.Buffers
}

// NewMemory makes a memory of so many bytes for mirrors and for the first bytes of stolen connections. connections is how many
// of a session are handled at once before further ones go straight to the target; together sessions handle twice as
// many. buffers are those of joined connections, nil for no bound.
func NewMemory(bytes, connections int, buffers *splice.Buffers) *Memory {
	firsts := bytes / 6
	return &Memory{
		firsts: newBudget(firsts), mirrors: newBudget(bytes - firsts),
		connections: connections, slots: make(chan struct{}, 2*connections), buffers: buffers,
	}
}

// What a session's capture takes: a third for the kernel's ring, the rest for what waits for the debuggee, a quarter of that once
// more for what is out of order.
const (
	leastCapture = 2 * ringBlock * 3 / 2
	// ringBlock is the unit of the kernel's ring.
	ringBlock = 512 << 10
)

// mirror takes the memory of a session's capture: half of what is there, so that there is some for the next. done
// gives it back. Without enough the error is a *wire.Refusal.
func (m *Memory) mirror(opts *capture.Options) (done func(), err error) {
	n := m.mirrors.takeHalf(leastCapture)
	if n == 0 {
		return nil, &wire.Refusal{Errno: syscall.ENOBUFS, Text: "the agent's memory for mirrors is taken by other sessions"}
	}
	opts.Ring = max(n/3, 2*ringBlock) / ringBlock * ringBlock
	opts.Memory = (n - opts.Ring) * 4 / 5
	return func() { m.mirrors.give(n) }, nil
}
