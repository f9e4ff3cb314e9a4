//go:build linux

package agent

import (
	"podstep.dev/agent/incoming"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
)

// shares divide the memory that all sessions may take. What grows with the traffic has its own share each; what a
// connection or a link takes just by being there is bounded by their number.
type shares struct {
	// links is what may wait unread in the links' streams: half.
	links *mux.Budget
	// incoming has the first bytes of stolen connections, a sixteenth, and mirrors, five.
	incoming *incoming.Memory
	// buffers are those of joined connections: an eighth.
	buffers *splice.Buffers
	// sessions is how many links are served at once, streams how many streams of adapters.
	sessions, streams int
}

const (
	// perLink is about what an idle link takes: its read and write buffers.
	perLink = 512 << 10
	// perStream is about what a joined connection takes that carries little: goroutines, and a small buffer each way.
	perStream = 32 << 10
)

func share(memory, connections int) shares {
	part := memory / 16
	buffers := splice.NewBuffers(2 * part)
	streams := memory / perStream
	return shares{
		links:    mux.NewBudget(8*part, streams),
		incoming: incoming.NewMemory(6*part, connections, buffers),
		buffers:  buffers,
		sessions: memory / perLink,
		streams:  streams,
	}
}
