package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

const (
	// h2StreamWindow is how much of one response the debuggee may send ahead of the link, in bytes; as much as a stream of the link takes.
	h2StreamWindow = 256 << 10
	// h2Window is the same for all responses of a connection together.
	h2Window = 64 * h2StreamWindow
	// maxOwed bounds what is pending for a debuggee that does not read, of answers to its own frames, in bytes.
	maxOwed = 1 << 20
	// h2Patience is less than the agent waits for the answer to a stream (5 s): for the debuggee's first frame, and for a stream when it allows
	// no more at once.
	h2Patience = 4 * time.Second
	// maxStream is the last stream of a connection (RFC 9113 §5.1.1).
	maxStream = 1<<31 - 1
)

var (
	// errNotHTTP2 says that the debuggee speaks something else.
	errNotHTTP2 = errors.New("it does not speak HTTP/2")
	// errUnprocessed says that the debuggee has done nothing for a request (RFC 9113 §8.7).
	errUnprocessed = errors.New("the debuggee refused the stream")
	// errLegOver says that a connection takes no more requests.
	errLegOver = errors.New("the debuggee's connection takes no more requests")
)

// h2leg is one connection of the debuggee that speaks HTTP/2, with all streams of one client. Its goroutine reads, and never waits for a
// stream; the end of the connection ends it. Each stream's sender writes.
type h2leg struct {
	conn   splice.Conn
	out    *h2.Sender
	flow   *h2.Flow
	forget func() bool
	// ready is closed when the debuggee has said its settings, over when nothing more comes.
	ready, over chan struct{}

	mu      sync.Mutex
	streams map[uint32]*h2stream
	// taken streams are open or about to be; most is how many the debuggee allows.
	taken, most int
	next        uint32
	// leaving says that the debuggee takes no new streams, and err why the connection is over.
	leaving bool
	err     error
	// window is what the debuggee may send still.
	window  int
	changed chan struct{} // closed at the next change of what a new stream waits for; nil while nobody waits
}

// newH2leg owns conn, and returns once the debuggee has shown that it speaks HTTP/2. The end of ctx ends the connection. run runs the
// goroutine.
func newH2leg(ctx context.Context, conn splice.Conn, run func(func())) (*h2leg, error) {
	l := &h2leg{
		conn: conn, out: h2.NewSender(conn), flow: h2.NewFlow(), streams: map[uint32]*h2stream{}, next: 1, most: maxStream,
		ready: make(chan struct{}), over: make(chan struct{}), window: h2Window,
	}
	l.forget = context.AfterFunc(ctx, func() { l.lose(context.Cause(ctx)) })
	l.out.Bytes([]byte(http2.ClientPreface))
	l.out.Frame(func(f *http2.Framer) error {
		return errors.Join(
			f.WriteSettings(
				http2.Setting{ID: http2.SettingEnablePush, Val: 0},
				http2.Setting{ID: http2.SettingInitialWindowSize, Val: h2StreamWindow},
				http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: h2.MaxHead},
			),
			f.WriteWindowUpdate(0, h2Window-h2.DefaultWindow),
		)
	})
	l.out.FlushLater()
	run(l.read)
	timer := time.NewTimer(h2Patience)
	defer timer.Stop()
	select {
	case <-l.ready:
		return l, nil
	case <-l.over:
		return nil, l.failure()
	case <-timer.C:
		l.lose(fmt.Errorf("%w: it says nothing", errNotHTTP2))
		return nil, l.failure()
	}
}

// failure is why the connection is over, as a refusal when it was no HTTP/2.
func (l *h2leg) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.err, errNotHTTP2) {
		return &wire.Refusal{Errno: syscall.EPROTO, Text: "HTTP/2 with the debuggee: " + l.err.Error()}
	}
	return l.err
}

// usable says whether another stream can be opened, now or later.
func (l *h2leg) usable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.usableLocked() && !ended(l.conn)
}

func (l *h2leg) usableLocked() bool { return l.err == nil && !l.leaving && l.next < maxStream }

// reserve waits until one more stream may be opened; open or release follows. The error is a refusal.
func (l *h2leg) reserve(ctx context.Context) error {
	timer := time.NewTimer(h2Patience)
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case !l.usableLocked():
			return errLegOver
		case l.taken < l.most:
			l.taken++
			return nil
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed, most := l.changed, l.most
		l.mu.Unlock()
		late := false
		select {
		case <-changed:
		case <-timer.C:
			late = true
		case <-ctx.Done():
		}
		l.mu.Lock()
		if late {
			return &wire.Refusal{Errno: syscall.EAGAIN, Text: fmt.Sprintf("the debuggee answers %d requests of this client and allows no more at once", most)}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// release gives back what reserve took.
func (l *h2leg) release() {
	l.mu.Lock()
	l.taken--
	l.wake()
	idle := l.taken == 0 && l.leaving
	l.mu.Unlock()
	if idle {
		l.lose(errLegOver)
	}
}

// wake wakes who waits in reserve; mu is held.
func (l *h2leg) wake() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// open begins a stream that was reserved, with a request's head. The error is that nothing was sent.
func (l *h2leg) open(fields []hpack.HeaderField, end bool) (*h2stream, error) {
	l.mu.Lock()
	if !l.usableLocked() {
		l.mu.Unlock()
		l.release()
		return nil, errLegOver
	}
	s := &h2stream{leg: l, id: l.next, credit: l.flow.Stream(), window: h2StreamWindow, asked: end, told: make(chan struct{}, 1)}
	l.next += 2
	l.streams[s.id] = s
	l.out.Headers(s.id, fields, end) // in the order of ids (RFC 9113 §5.1.1)
	l.mu.Unlock()
	_ = l.out.Flush() // the reader hears of an end
	return s, nil
}

// close ends the connection as a client does that is content.
func (l *h2leg) close() { l.lose(errGone) }

// lose ends the connection, and with it every stream.
func (l *h2leg) lose(why error) {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = why
	streams := l.streams
	l.streams = map[uint32]*h2stream{}
	l.wake()
	l.mu.Unlock()
	l.forget()
	for _, s := range streams {
		s.lose(why)
	}
	_ = l.conn.Close()
	close(l.over)
}

// read takes the debuggee's frames until the connection ends.
func (l *h2leg) read() {
	framer := http2.NewFramer(nil, l.conn)
	framer.SetReuseFrames()
	framer.ReadMetaHeaders = hpack.NewDecoder(4<<10, nil)
	framer.MaxHeaderListSize = h2.MaxHead
	for first := true; ; first = false {
		f, err := framer.ReadFrame()
		if _, is := f.(*http2.SettingsFrame); first && (err != nil || !is) {
			if err == nil {
				err = errors.New("its first frame is another than SETTINGS")
			}
			l.lose(fmt.Errorf("%w: %w", errNotHTTP2, err))
			return
		}
		if err == nil {
			err = l.take(f)
		}
		if err = l.mend(err); err != nil {
			l.lose(err)
			return
		}
		if first {
			close(l.ready)
		}
		if l.out.Pending() > maxOwed {
			l.lose(errors.New("the debuggee does not read its connection"))
			return
		}
		l.out.FlushLater()
	}
}

// mend ends a stream for an error of its own; of another the debuggee is told why its connection ends (RFC 9113 §5.4).
func (l *h2leg) mend(err error) error {
	var ofStream http2.StreamError
	var ofConnection http2.ConnectionError
	switch {
	case errors.As(err, &ofStream):
		if s := l.stream(ofStream.StreamID); s != nil {
			s.lose(fmt.Errorf("the debuggee's answer is malformed: %w", err))
		}
		l.out.Frame(func(f *http2.Framer) error { return f.WriteRSTStream(ofStream.StreamID, ofStream.Code) })
		return nil
	case errors.As(err, &ofConnection):
		l.out.Frame(func(f *http2.Framer) error { return f.WriteGoAway(0, http2.ErrCode(ofConnection), nil) })
		l.out.FlushLater()
		return fmt.Errorf("the debuggee broke HTTP/2: %w", err)
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return fmt.Errorf("read from the debuggee: %w", err)
	}
	return nil
}

func (l *h2leg) stream(id uint32) *h2stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.streams[id]
}

// known returns a stream, nil when it is over; frames of one that never was are a connection error (RFC 9113 §5.1).
func (l *h2leg) known(id uint32) (*h2stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id%2 == 0 || id >= l.next {
		return nil, http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return l.streams[id], nil
}

// take takes in a frame.
func (l *h2leg) take(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return l.takeSettings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			l.out.Frame(func(out *http2.Framer) error { return out.WritePing(true, f.Data) })
		}
	case *http2.WindowUpdateFrame:
		return l.takeWindow(f)
	case *http2.GoAwayFrame:
		l.takeGoAway(f)
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol) // it was told not to
	case *http2.MetaHeadersFrame:
		s, err := l.known(f.StreamID)
		if s == nil {
			return err
		}
		return s.takeHead(f)
	case *http2.DataFrame:
		return l.takeData(f)
	case *http2.RSTStreamFrame:
		s, err := l.known(f.StreamID)
		if s == nil {
			return err
		}
		s.takeReset(f.ErrCode)
	}
	return nil
}

func (l *h2leg) takeSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingHeaderTableSize:
			l.out.SetTable(s.Val)
		case http2.SettingInitialWindowSize:
			if l.flow.SetInitial(s.Val) != nil {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
		case http2.SettingMaxFrameSize:
			l.out.SetMaxFrame(s.Val)
		case http2.SettingMaxConcurrentStreams:
			l.mu.Lock()
			l.most = int(min(s.Val, maxStream))
			l.wake()
			l.mu.Unlock()
		}
		return nil
	})
	l.out.Frame(func(out *http2.Framer) error { return out.WriteSettingsAck() })
	return err
}

func (l *h2leg) takeWindow(f *http2.WindowUpdateFrame) error {
	if f.StreamID == 0 {
		if l.flow.Grant(f.Increment) != nil {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		return nil
	}
	s, err := l.known(f.StreamID)
	if s == nil {
		return err
	}
	if s.credit.Grant(f.Increment) != nil {
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeFlowControl}
	}
	return nil
}

// takeGoAway has streams that the debuggee will not look at go elsewhere; the others go on.
func (l *h2leg) takeGoAway(f *http2.GoAwayFrame) {
	l.mu.Lock()
	l.leaving = true
	l.wake()
	var unprocessed []*h2stream
	for id, s := range l.streams {
		if id > f.LastStreamID {
			unprocessed = append(unprocessed, s)
		}
	}
	idle := l.taken == 0
	l.mu.Unlock()
	for _, s := range unprocessed {
		s.lose(errUnprocessed)
	}
	if idle {
		l.lose(errLegOver)
	}
}

func (l *h2leg) takeData(f *http2.DataFrame) error {
	size := int(f.Length) // with its padding
	l.mu.Lock()
	l.window -= size
	over := l.window < 0
	l.mu.Unlock()
	if over {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	s, err := l.known(f.StreamID)
	if err != nil {
		return err
	}
	if s == nil {
		l.grant(size)
		return nil
	}
	return s.takeData(f.Data(), size, f.StreamEnded())
}

// grant lets the debuggee send n bytes more on the connection.
func (l *h2leg) grant(n int) {
	if n == 0 {
		return
	}
	l.mu.Lock()
	l.window += n
	l.mu.Unlock()
	l.out.Frame(func(f *http2.Framer) error { return f.WriteWindowUpdate(0, uint32(n)) })
}
