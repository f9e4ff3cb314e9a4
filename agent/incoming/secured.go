//go:build linux

package incoming

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"podstep.dev/internal/splice"
)

// socket is a client's connection, or the target's: TCP, or what TLS carries over that.
type socket interface {
	splice.Conn
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	Reset()
	// free gives memory back. Neither Read nor Write may be called any more.
	free()
}

// secured is what TLS carries over a connection. Each half ends as the other connection's did: by close_notify (RFC 8446 §6.1), or without
// where that was left out, so that nobody takes a half that was cut for one that is whole.
type secured struct {
	*tls.Conn
	below *carrier
	// cut says of what is read here that it ended without close_notify, otherCut of what is written.
	cut, otherCut *atomic.Bool
	// target is set for the connection to the target.
	target *unwrapped
	// broken : an alert was sent about what came.
	broken atomic.Bool
}

// Read is that of TLS. What is no TLS is answered by an alert.
func (s *secured) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		s.cut.Store(s.below.ended.Load())
	case isOurAlert(err):
		s.broken.Store(true)
	case isUntrusted(err) && s.target != nil && s.target.refused != nil:
		// By TLS 1.3 that comes behind the handshake.
		s.target.refused()
	}
	return n, err
}

// isOurAlert tells an error about which an alert was sent from one of the connection below.
func isOurAlert(err error) bool {
	var record tls.RecordHeaderError
	var op *net.OpError
	return errors.As(err, &record) || errors.As(err, &op) && op.Op == "local error"
}

// CloseWrite ends the half of TLS, and that of the connection.
func (s *secured) CloseWrite() error {
	if !s.otherCut.Load() {
		if err := s.Conn.CloseWrite(); err != nil {
			return err
		}
	}
	return s.below.CloseWrite()
}

// Close ends both halves. It waits no longer than that for one who does not read.
func (s *secured) Close() error {
	_ = s.below.width.SetWriteDeadline(time.Now().Add(lastWords))
	return s.Conn.Close()
}

// Reset resets the connection below, unless the other end is to read an alert.
func (s *secured) Reset() {
	if s.broken.Load() {
		s.below.hangUp()
		return
	}
	s.below.Reset()
}

func (s *secured) free() { s.below.free() }

// carrier is the connection below TLS.
type carrier struct {
	*width
	// early has what a client said before it was decided who answers it, nil for another connection; taken counts what TLS has of it.
	early *early
	taken int
	// undecided : what is read is kept, and nothing is written.
	undecided bool
	// ended says that the half that is read has ended.
	ended atomic.Bool
}

// errUndecided is what TLS hears that wants to answer a client before it is decided who does.
var errUndecided = errors.New("it is not decided who answers")

func (c *carrier) Read(b []byte) (int, error) {
	if c.early == nil {
		return c.read(b)
	}
	if c.undecided && c.taken == len(c.early.kept) {
		if chunk, end := c.early.next(); len(chunk) == 0 {
			if end == nil { // or there is no memory for more
				end = os.ErrDeadlineExceeded
			}
			return 0, end
		}
	}
	if n := copy(b, c.early.kept[c.taken:]); n > 0 {
		c.taken += n
		return n, nil
	}
	end := c.early.end
	c.early.drop()
	c.early = nil
	if end != nil {
		c.ended.Store(errors.Is(end, io.EOF))
		return 0, end
	}
	return c.read(b)
}

func (c *carrier) read(b []byte) (int, error) {
	n, err := c.width.Read(b)
	if errors.Is(err, io.EOF) {
		c.ended.Store(true)
	}
	return n, err
}

func (c *carrier) Write(b []byte) (int, error) {
	if c.undecided {
		return 0, errUndecided
	}
	return c.width.Write(b)
}

// SetWriteDeadline does nothing. Package tls bounds close_notify by it, and what was sent before takes as long as its reader likes.
func (c *carrier) SetWriteDeadline(time.Time) error { return nil }

// lastWords is how long whoever is told an alert may go on sending: a connection that is closed over unread bytes is reset, and the alert
// lost.
const lastWords = 200 * time.Millisecond

// hangUp ends a connection behind its last words.
func (w *width) hangUp() {
	_ = w.CloseWrite()
	_ = w.SetReadDeadline(time.Now().Add(lastWords))
	_, _ = io.Copy(io.Discard, w.TCPConn)
	_ = w.Close()
}
