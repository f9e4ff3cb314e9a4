//go:build linux

package incoming

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"podstep.dev/internal/splice"
)

// errFull says that a head does not fit into the memory that there is for it.
var errFull = errors.New("no memory for a long head")

// loneIdle ends a connection whose one half is over when the other carries nothing for so long.
const loneIdle = 10 * time.Minute

// smallInbox is the memory in bytes that a direction begins with; most heads need no more.
const smallInbox = 4 << 10

// inbox is what was read of one direction and is not passed on yet: messages are passed on out of it byte for byte.
type inbox struct {
	src     io.Reader
	buffers *splice.Buffers

	// small is nil while nothing is kept of a socket, which may be idle for long.
	small *[smallInbox]byte
	large []byte
	r, w  int
	// raw is src's, when the kernel can be asked what there is.
	raw syscall.RawConn
	// hungry says that the last read took all there was room for.
	hungry bool
	// end is what the direction ended with.
	end error
	mu  sync.Mutex
	// lone says that the other direction is over, so that this one may not be idle for long; limited that it ends soon anyway.
	lone, limited bool
}

// alone bounds how long nothing may come from here on, and is called when the other direction has ended.
func (b *inbox) alone() {
	b.mu.Lock()
	b.lone = true
	b.mu.Unlock()
	b.bound()
}

// limit ends the direction after so long.
func (b *inbox) limit(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limited = true
	b.setDeadline(d)
}

func (b *inbox) bound() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lone && !b.limited {
		b.setDeadline(loneIdle)
	}
}

func (b *inbox) setDeadline(d time.Duration) {
	if c, ok := b.src.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = c.SetReadDeadline(time.Now().Add(d))
	}
}

// storage is where bytes are kept.
func (b *inbox) storage() []byte {
	if b.large != nil {
		return b.large
	}
	if b.small == nil {
		b.small = smalls.Get().(*[smallInbox]byte)
	}
	return b.small[:]
}

var smalls = sync.Pool{New: func() any { return new([smallInbox]byte) }}

// bytes are those that were read and not passed on. They hold until the next fill.
func (b *inbox) bytes() []byte {
	if b.r == b.w {
		return nil
	}
	return b.storage()[b.r:b.w]
}

// skip takes the first n bytes as passed on.
func (b *inbox) skip(n int) { b.r += n }

// put adds bytes that were read by somebody else.
func (b *inbox) put(p []byte) bool {
	if len(p) > len(b.storage())-b.w && !b.widen(len(p)) {
		return false
	}
	b.w += copy(b.storage()[b.w:], p)
	return true
}

// fill waits for more bytes. Its error is what the direction ended with, or errFull.
func (b *inbox) fill() error {
	if b.end != nil {
		return b.end
	}
	if b.r == b.w {
		b.r, b.w = 0, 0
		if !b.hungry {
			b.free()
			if b.isRaw() {
				return b.fillFromSocket()
			}
		}
	}
	if (b.hungry || b.w == len(b.storage())) && !b.widen(1) && b.w == len(b.storage()) {
		return errFull
	}
	b.bound()
	room := b.storage()[b.w:]
	n, err := b.src.Read(room)
	b.w += n
	b.hungry = n == len(room)
	if err != nil {
		b.end = err
		if n == 0 {
			return err
		}
	}
	return nil
}

// isRaw says whether the kernel can be asked what there is to read.
func (b *inbox) isRaw() bool {
	if s := splice.SocketOf(b.src); b.raw == nil && s != nil {
		b.raw, _ = s.Socket().SyscallConn()
	}
	return b.raw != nil
}

// fillFromSocket is fill with memory that is taken when there is something to read: most clients are idle most of the time.
func (b *inbox) fillFromSocket() error {
	b.bound()
	var n int
	var failed error
	err := b.raw.Read(func(fd uintptr) bool {
		for {
			if n, failed = syscall.Read(int(fd), b.storage()); failed != syscall.EINTR {
				break
			}
		}
		if n > 0 {
			return true
		}
		b.free()
		return failed != syscall.EAGAIN
	})
	switch {
	case err == nil && failed != nil:
		err = os.NewSyscallError("read", failed)
	case err == nil && n <= 0:
		err = io.EOF
	}
	if err != nil {
		b.end = err
		return err
	}
	b.w, b.hungry = n, n == smallInbox
	splice.SocketOf(b.src).Moved(n)
	return nil
}

// widen makes room for n bytes more, and says whether there is.
func (b *inbox) widen(n int) bool {
	have := b.bytes()
	if b.large == nil && len(have)+n > smallInbox || b.large == nil && b.hungry {
		if large := b.buffers.Take(); large != nil {
			b.large = large
		}
	}
	// In place when there was no other memory.
	b.r, b.w = 0, copy(b.storage(), have)
	return len(b.storage())-b.w >= n
}

// free gives memory back; nothing may be kept.
func (b *inbox) free() {
	if b.small != nil {
		smalls.Put(b.small)
		b.small = nil
	}
	if b.large != nil {
		b.buffers.Give(b.large)
		b.large = nil
	}
}
