//go:build linux

package incoming

import "sync"

// maxFirsts bounds the first bytes of all connections that wait for the adapter's answer, in bytes: they are the pod's
// memory. Over it, bytes wait in the kernel's receive buffers instead.
const maxFirsts = 4 << 20

// budget counts memory.
type budget struct {
	mu   sync.Mutex
	left int
}

func newBudget(n int) *budget { return &budget{left: n} }

// take grants up to n bytes.
func (b *budget) take(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, b.left)
	b.left -= n
	return n
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
}
