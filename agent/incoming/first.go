//go:build linux

package incoming

import (
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

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

// readFirst takes what the client has sent already, without waiting: where the server speaks first there is nothing to
// wait for. The caller gives spent bytes back to the budget.
func (s *Subscriptions) readFirst(conn *net.TCPConn) (first []byte, spent int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, 0
	}
	// An end or an error shows again at the next read.
	_ = raw.Read(func(fd uintptr) bool {
		there, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		if err != nil || there == 0 {
			return true
		}
		spent = s.firsts.take(min(there, wire.MaxFirst))
		if spent == 0 {
			return true
		}
		first = make([]byte, spent)
		n, _, err := unix.Recvfrom(int(fd), first, unix.MSG_DONTWAIT)
		first = first[:max(n, 0)]
		if err != nil {
			first = nil
		}
		return true
	})
	return first, spent
}

// begun is a connection whose first bytes were read already.
type begun struct {
	*net.TCPConn
	first []byte
	// written is called when the first bytes are no longer needed, perhaps more than once.
	written func()
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	if b.first != nil {
		b.first = nil
		b.written()
	}
	return b.TCPConn.Read(p)
}

// Reset is for package splice.
func (b *begun) Reset() { splice.Reset(b.TCPConn) }
