package tunnel

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/h2"
)

// maxSections is how many header sections of a response may wait: interim ones, the final one and the trailer. No window bounds them.
const maxSections = 16

// h2stream is one request of a leg. One goroutine sends, one reads, and the leg's takes in what comes.
type h2stream struct {
	leg    *h2leg
	id     uint32
	credit *h2.Credit
	// told has a word when something came.
	told chan struct{}

	mu sync.Mutex
	// queue is what came and is not read yet.
	queue    []h2.Frame
	sections int
	// began says that anything of an answer came, final that its final head did, and answered that all of it did.
	began, final, answered bool
	// asked says that the request is sent whole.
	asked bool
	// window is what the debuggee may send still; owed is what it is to be granted and was not told.
	window, owed int
	err          error
	closed       bool
}

// send sends the next frame of the request as the debuggee's windows allow. The error is that it takes no more of it: it may answer
// nevertheless.
func (s *h2stream) send(ctx context.Context, f h2.Frame, moved func(int)) error {
	if f.Fields != nil {
		s.noteAsked()
		s.leg.out.Headers(s.id, f.Fields, true)
		return s.leg.out.Flush()
	}
	for data, first := f.Data, true; first || len(data) > 0; first = false {
		n := 0
		if len(data) > 0 {
			var err error
			if n, err = s.credit.Take(ctx, len(data)); err != nil {
				return err
			}
		}
		last := f.End && n == len(data)
		if last {
			s.noteAsked()
		}
		s.leg.out.Data(s.id, data[:n], last)
		if err := s.leg.out.Flush(); err != nil {
			return err
		}
		moved(n)
		data = data[n:]
	}
	return nil
}

func (s *h2stream) noteAsked() {
	s.mu.Lock()
	s.asked = true
	s.mu.Unlock()
}

// tell wakes the reader; mu may be held.
func (s *h2stream) tell() {
	select {
	case s.told <- struct{}{}:
	default:
	}
}

// takeHead takes in a header section of the response.
func (s *h2stream) takeHead(f *http2.MetaHeadersFrame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := f.PseudoValue("status")
	s.sections++
	switch malformed := (http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}); {
	case s.answered:
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeStreamClosed}
	case f.Truncated, s.sections > maxSections:
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeEnhanceYourCalm}
	case s.final && (status != "" || !f.StreamEnded()), !s.final && len(status) != 3:
		return malformed
	case !s.final && status[0] == '1':
		if f.StreamEnded() {
			return malformed
		}
	default:
		s.final = true
	}
	s.queue = append(s.queue, h2.Frame{Fields: append([]hpack.HeaderField{}, f.Fields...), End: f.StreamEnded()})
	s.began, s.answered = true, f.StreamEnded()
	s.tell()
	return nil
}

// takeData takes in content, which took size bytes of the windows.
func (s *h2stream) takeData(data []byte, size int, end bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window -= size
	switch {
	case s.err != nil || s.closed:
		s.leg.grant(size)
		return nil
	case s.answered:
		s.leg.grant(size)
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeStreamClosed}
	case !s.final:
		s.leg.grant(size)
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
	case s.window < 0:
		s.leg.grant(size)
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeFlowControl}
	}
	s.answered = end
	s.grantLocked(size - len(data)) // padding
	if last := len(s.queue) - 1; last >= 0 && s.queue[last].Fields == nil {
		s.queue[last].Data = append(s.queue[last].Data, data...)
		s.queue[last].End = end
	} else if len(data) > 0 || end {
		s.queue = append(s.queue, h2.Frame{Data: append([]byte{}, data...), End: end})
	}
	s.tell()
	return nil
}

func (s *h2stream) takeReset(code http2.ErrCode) {
	if code == http2.ErrCodeRefusedStream {
		s.lose(errUnprocessed)
		return
	}
	s.lose(&h2.ResetError{Code: code})
}

// lose says that nothing more comes, and why. What has come is read first.
func (s *h2stream) lose(why error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = why
	}
	s.tell()
	s.mu.Unlock()
	s.credit.Close()
}

// giveUp has the reader hear of why instead of an answer, unless that has begun.
func (s *h2stream) giveUp(why error) {
	s.mu.Lock()
	began := s.began
	if !began && s.err == nil {
		s.err = why
		s.tell()
	}
	s.mu.Unlock()
}

// read returns the next frame of the response, and lets the debuggee send as much again with the next call. After an error nothing comes.
func (s *h2stream) read(ctx context.Context) (h2.Frame, error) {
	for {
		s.mu.Lock()
		s.grantLocked(s.owed)
		s.owed = 0
		if len(s.queue) > 0 {
			f := s.queue[0]
			s.queue = s.queue[1:]
			if f.Fields != nil {
				s.sections--
			}
			s.owed = len(f.Data)
			s.mu.Unlock()
			s.leg.out.FlushLater()
			return f, nil
		}
		err := s.err
		s.mu.Unlock()
		s.leg.out.FlushLater()
		if err != nil {
			return h2.Frame{}, err
		}
		select {
		case <-s.told:
		case <-ctx.Done():
			return h2.Frame{}, context.Cause(ctx)
		}
	}
}

// grantLocked lets the debuggee send n bytes more; mu is held.
func (s *h2stream) grantLocked(n int) {
	if n == 0 {
		return
	}
	s.leg.grant(n)
	if s.answered || s.err != nil {
		return
	}
	s.window += n
	s.leg.out.Frame(func(f *http2.Framer) error { return f.WriteWindowUpdate(s.id, uint32(n)) })
}

// close ends the stream: one that is not over both ways is reset with the code.
func (s *h2stream) close(code http2.ErrCode) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	unread := s.owed
	for _, f := range s.queue {
		unread += len(f.Data)
	}
	s.queue = nil
	s.leg.grant(unread)
	var reset *h2.ResetError
	over := s.asked && s.answered || errors.As(s.err, &reset) || errors.Is(s.err, errUnprocessed)
	s.mu.Unlock()
	s.credit.Close()
	if !over {
		s.leg.out.Frame(func(f *http2.Framer) error { return f.WriteRSTStream(s.id, code) })
	}
	s.leg.mu.Lock()
	delete(s.leg.streams, s.id)
	s.leg.mu.Unlock()
	s.leg.out.FlushLater()
	s.leg.release()
}
