//go:build linux

package incoming

import (
	"sync"
	"syscall"

	"podstep.dev/agent/incoming/capture"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// Memory is what the subscriptions of several sessions may take of the pod's memory together.
type Memory struct {
	firsts, mirrors, sockets *budget
	connections              int
	slots                    chan struct{}
	buffers                  *splice.Buffers

	mu    sync.Mutex
	count int
	// crowded says that the steals of all sessions are suspended.
	crowded  bool
	sessions map[*Subscriptions]struct{}
}

// NewMemory makes a memory of so many bytes for mirrors, for the first bytes of stolen connections and for wide socket
// buffers. connections is how many are handled at once, of all sessions, before further ones go straight to the target;
// twice as many are handled while those go there that came in before that took effect. Each takes, beside that, narrow
// socket buffers: 96 KiB of the kernel's memory at most, twice that when it is passed through. buffers are those of
// joined connections, nil for no bound.
func NewMemory(bytes, connections int, buffers *splice.Buffers) *Memory {
	firsts, sockets := bytes/6, bytes/6
	return &Memory{
		firsts: newBudget(firsts), mirrors: newBudget(bytes - firsts - sockets), sockets: newBudget(sockets),
		connections: connections, slots: make(chan struct{}, 2*connections), buffers: buffers,
		sessions: map[*Subscriptions]struct{}{},
	}
}

func (m *Memory) join(s *Subscriptions) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions[s] = struct{}{}
}

func (m *Memory) part(s *Subscriptions) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sessions, s)
}

// enter counts a connection in, and waits while there are twice as many as may be: further ones wait in the listener's
// queue. over is closed when the session is over, which ok then says.
func (m *Memory) enter(over <-chan struct{}) (crowded, ok bool) {
	select {
	case m.slots <- struct{}{}:
	case <-over:
		return false, false
	}
	return m.add(1) > m.connections, true
}

// leave counts a connection out.
func (m *Memory) leave() {
	m.add(-1)
	<-m.slots
}

// add counts, and suspends the steals of all sessions when there are as many connections as may be, until a quarter of
// them is gone.
func (m *Memory) add(n int) (count int) {
	m.mu.Lock()
	m.count += n
	count = m.count
	was := m.crowded
	switch {
	case count >= m.connections:
		m.crowded = true
	case count <= m.connections*3/4:
		m.crowded = false
	}
	var sessions []*Subscriptions
	if m.crowded != was {
		for s := range m.sessions {
			sessions = append(sessions, s)
		}
	}
	m.mu.Unlock()
	for _, s := range sessions {
		s.crowd()
	}
	return count
}

func (m *Memory) isCrowded() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.crowded
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
