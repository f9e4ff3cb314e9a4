//go:build linux

package incoming

import (
	"errors"
	"fmt"
	"math"
	"net"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/splice"
)

// muchBody is how many bytes of a body have to come for the kernel to move them: a pipe costs as much time as copying so many.
const muchBody = 128 << 10

// Socket and Moved are for package splice.
func (w *width) Socket() *net.TCPConn { return w.TCPConn }

// Moved counts bytes that the kernel moved.
func (w *width) Moved(n int) { w.carry(n) }

// Socket is nil as long as what was read is not passed on, and where TLS reads the connection.
func (b *begun) Socket() *net.TCPConn {
	s := splice.SocketOf(b.socket)
	if len(b.kept) > 0 || b.early.end != nil || s == nil {
		return nil
	}
	b.early.drop()
	return s.Socket()
}

// Moved counts bytes that the kernel moved.
func (b *begun) Moved(n int) { splice.SocketOf(b.socket).Moved(n) }

// Socket is nil: TLS takes the bytes.
func (c *carrier) Socket() *net.TCPConn { return nil }

// bodyTo passes the rest of a message's body on: the kernel moves what it can to dst by itself, write is for the rest. Its error is
// the write's, the direction's end or http1.ErrOdd.
func (b *inbox) bodyTo(dst any, s *http1.Scanner, write func([]byte) error) error {
	left, _ := s.Remaining()
	for much := left >= muchBody+int64(len(b.bytes())); ; much = b.hungry && b.large != nil {
		n, done, err := s.Take(b.bytes())
		if n > 0 {
			if err := write(b.bytes()[:n]); err != nil {
				return err
			}
			b.skip(n)
		}
		if err != nil || done {
			return err
		}
		if left, _ := s.Remaining(); much && left >= muchBody {
			if err := b.move(dst, left, func(n int) { s.Skip(int64(n)) }); err != nil {
				return err
			}
			if left, _ = s.Remaining(); left == 0 {
				continue
			}
		}
		if err := b.fill(); err != nil {
			return err
		}
	}
}

// restTo passes on everything until the direction's end, which it returns; dst and write are as of bodyTo.
func (b *inbox) restTo(dst any, write func([]byte) error) error {
	for {
		if p := b.bytes(); len(p) > 0 {
			if err := write(p); err != nil {
				return err
			}
			b.skip(len(p))
		}
		if b.hungry && b.large != nil {
			if err := b.move(dst, math.MaxInt64, func(int) {}); err != nil {
				return err
			}
		}
		if err := b.fill(); err != nil {
			return err
		}
	}
}

// move has the kernel move up to n bytes to dst, as long as much comes at once; moved is told how many. It moves none where it
// cannot. Nothing may be kept.
func (b *inbox) move(dst any, n int64, moved func(int)) error {
	from, to := splice.SocketOf(b.src), splice.SocketOf(dst)
	if from == nil || to == nil || b.end != nil {
		return nil
	}
	p := b.buffers.OpenPipe()
	if p == nil {
		return nil
	}
	defer p.Close()
	b.free()
	b.hungry = false
	b.r, b.w = 0, 0
	for got := smallInbox; n > 0 && got >= smallInbox; {
		var err error
		b.bound()
		got, err = p.Move(to, from, n)
		n -= int64(got)
		moved(got)
		var writing *splice.WriteError
		switch {
		case errors.As(err, &writing):
			return &partyError{fmt.Errorf("pass on: %w", writing.Err)}
		case err != nil:
			b.end = err
			return err
		}
	}
	return nil
}
