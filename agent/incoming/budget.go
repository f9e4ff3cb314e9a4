//go:build linux

package incoming

import "sync"

// budget counts memory in bytes. Over that of the first bytes, bytes wait in the kernel's receive buffers instead.
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

// takeHalf grants half of what is left, but not less than least; nothing when less is left.
func (b *budget) takeHalf(least int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < least {
		return 0
	}
	n := max(b.left/2, least)
	b.left -= n
	return n
}

// takeAll grants n bytes or nothing.
func (b *budget) takeAll(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < n {
		return false
	}
	b.left -= n
	return true
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
}
