// Package mux carries many streams over one connection: greeting, header and answer of each stream, half-close, reset,
// heartbeats, and one cap on all that is buffered. It knows nothing of what the streams are for.
package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"podstep.dev/internal/wire"
)

// Errors that a session ends with, as the cause that Wait returns.
var (
	// ErrClosed : Close was called at this end.
	ErrClosed = errors.New("link closed")
	// ErrSilent : the other end sent nothing for three heartbeats.
	ErrSilent = errors.New("link silent")
	// ErrPeerGone : the connection ended.
	ErrPeerGone = errors.New("link ended by the other end")
)

// Side says which end of the link this is; streams of the two sides never share an id.
type Side bool

// The two sides.
const (
	AdapterSide Side = true
	AgentSide   Side = false
)

// Options of a session. The zero value works.
type Options struct {
	// Log receives the session's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Hello is what this end says of itself.
	Hello wire.Hello
	// Window is how many bytes of one stream may be under way unread, at least 256 KiB. If zero, 4 MiB, which carries
	// 100 MB/s over a round trip of 40 ms.
	Window int
	// Budget is the memory in bytes that everything unread may take, of all streams together. At the cap the link waits for the
	// readers, at most 2 s for one that reads nothing; then that stream is reset. A buffer may be twice as large as what is in it, so half of this may be unread; and while a
	// quarter is, windows are not wider than 256 KiB. At least 2 MiB. If zero, 32 MiB.
	Budget int
	// Shared is a budget that this session shares with others, instead of Budget. If nil, none is shared.
	Shared *Budget
	// Heartbeat is the interval of heartbeats; three missed ones end the session. If zero, 5 s.
	Heartbeat time.Duration
	// GreetTimeout bounds the greeting. If zero, 10 s.
	GreetTimeout time.Duration
	// Streams is how many streams of the other end are served at once; more are refused with EAGAIN. If zero, 4096.
	Streams int
}

const (
	headerTimeout = 10 * time.Second
	// backlog is how many streams may be opened and not yet taken by Serve.
	backlog = 1024
)

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Window == 0 {
		o.Window = 4 << 20
	}
	if o.Budget == 0 {
		o.Budget = 32 << 20
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 5 * time.Second
	}
	if o.GreetTimeout == 0 {
		o.GreetTimeout = 10 * time.Second
	}
	if o.Streams == 0 {
		o.Streams = 4096
	}
	if o.Shared == nil {
		o.Shared = NewBudget(o.Budget, o.Streams)
	}
	o.Window = min(max(o.Window, floor), o.Shared.window)
	return o
}

// Session is one link. Its goroutines: yamux's reader, which hears signals too, and writer; tend, which sends
// signals and grants; watch, for heartbeats; all ended by Close; and one for each stream that Serve hands out, which Serve waits for.
type Session struct {
	// Peer is the other end's greeting.
	Peer wire.Hello

	opts    Options
	link    *link
	budget  *budget
	ym      *yamux.Session
	signals *signals
	group   errgroup.Group

	mu      sync.Mutex
	streams map[uint32]*Stream
	cause   error
}

// Start greets the other end over conn and returns the session. It owns conn from here on, and closes it on error.
// The errors of [wire.ReadHello] are wrapped.
func Start(ctx context.Context, conn io.ReadWriteCloser, side Side, opts Options) (*Session, error) {
	opts = opts.filled()
	ctx, cancel := context.WithTimeout(ctx, opts.GreetTimeout)
	defer cancel()
	peer, err := greet(ctx, conn, opts)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	s := &Session{Peer: peer, opts: opts, streams: map[uint32]*Stream{}, signals: &signals{wake: make(chan struct{}, 1)}}
	s.budget = &budget{
		window: opts.Window, streams: 2*opts.Streams + backlog,
		evict: s.signals.evict, due: s.signals.notify, accounts: map[uint32]*account{},
	}
	opts.Shared.join(s.budget)
	s.link = newLink(conn, s.budget, s.hear)
	open := yamux.Server
	if side == AdapterSide {
		open = yamux.Client
	}
	if s.ym, err = open(s.link, yamuxConfig(opts)); err != nil {
		opts.Shared.leave(s.budget)
		return nil, errors.Join(fmt.Errorf("start link: %w", err), conn.Close())
	}
	if err := s.signals.open(ctx, s.ym, side); err != nil {
		_ = s.ym.Close()
		opts.Shared.leave(s.budget)
		return nil, fmt.Errorf("start link: %w", s.why(explain(err)))
	}
	s.group.Go(func() error { s.end(s.tend()); return nil })
	s.group.Go(func() error { s.end(s.watch()); return nil })
	return s, nil
}

func yamuxConfig(opts Options) *yamux.Config {
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	// The budget grants the windows. Yamux grants when half of its own is read, so twice as much is always enough for it.
	config.MaxStreamWindowSize = uint32(2 * opts.Window)
	config.StreamCloseTimeout = 0
	config.StreamOpenTimeout = 0
	// A link that stalls is ended by the heartbeat, not by whoever happens to write.
	config.ConnectionWriteTimeout = 24 * time.Hour
	config.AcceptBacklog = backlog
	config.LogOutput = nil
	config.Logger = yamuxLog{opts.Log.Named("yamux").Sugar()}
	return config
}

// greet writes and reads at once: over an unbuffered transport the two ends would otherwise wait for each other.
func greet(ctx context.Context, conn io.ReadWriteCloser, opts Options) (wire.Hello, error) {
	hangUp := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer hangUp()
	var writeErr error
	var writer sync.WaitGroup
	writer.Go(func() { writeErr = wire.WriteHello(conn, opts.Hello) })
	peer, err := wire.ReadHello(conn)
	if err != nil {
		// The writer may be stuck in an unread pipe.
		_ = conn.Close()
	}
	writer.Wait()
	switch {
	case ctx.Err() != nil:
		return peer, fmt.Errorf("greet: %w", context.Cause(ctx))
	case err != nil:
		// It has the other end's last words.
		return peer, err
	}
	return peer, writeErr
}

// Open opens a stream: it sends h and the first bytes in one write and waits for the answer. A refusal is returned as
// *wire.Refusal; then, and on any error, there is no stream. The caller closes the stream.
func (s *Session) Open(ctx context.Context, h wire.Header, first []byte) (*Stream, error) {
	st, err := s.Begin(ctx, h, first)
	if err != nil {
		return nil, err
	}
	if err := st.Await(ctx); err != nil {
		return nil, err
	}
	return st, nil
}

// Serve calls handle in a goroutine for each stream that the other end opens, its header read and not yet answered,
// until the session ends; then it waits for all of them and returns the session's cause. The handler owns the stream.
func (s *Session) Serve(handle func(*Stream)) error {
	var group errgroup.Group
	group.SetLimit(s.opts.Streams)
	for {
		ys, err := s.ym.AcceptStream()
		if err != nil {
			s.end(err)
			_ = group.Wait()
			return s.Wait()
		}
		st := s.track(ys)
		if !group.TryGo(func() error { return s.admit(st, handle) }) {
			refuseCrowd(st)
		}
	}
}

// admit serves a stream if the shared budget has room for it.
func (s *Session) admit(st *Stream, handle func(*Stream)) error {
	if !s.opts.Shared.serve() {
		refuseCrowd(st)
		return nil
	}
	defer s.opts.Shared.done()
	s.serve(st, handle)
	return nil
}

func refuseCrowd(st *Stream) {
	_ = st.Refuse(&wire.Refusal{Errno: errAgain, Text: "too many streams"})
}

func (s *Session) serve(st *Stream, handle func(*Stream)) {
	_ = st.SetReadDeadline(time.Now().Add(headerTimeout))
	err := wire.ReadFrame(st, &st.Header)
	switch {
	case st.isReset():
		// Whoever opened it has given up already.
		_ = st.Close()
		return
	case err != nil:
		if !s.ym.IsClosed() {
			s.opts.Log.Warn("stream without a header", zap.Error(err))
		}
		st.Reset()
		return
	}
	_ = st.SetReadDeadline(time.Time{})
	handle(st)
}

// Close ends the session and all its streams and waits for its goroutines.
func (s *Session) Close() error {
	s.end(ErrClosed)
	return s.group.Wait()
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.ym.CloseChan() }

// Wait blocks until the session has ended and returns why: ErrClosed, ErrSilent, ErrPeerGone or a transport's error.
func (s *Session) Wait() error {
	<-s.ym.CloseChan()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.cause = s.why(ErrPeerGone)
	}
	return s.cause
}

// end records the first cause and closes everything.
func (s *Session) end(cause error) {
	s.mu.Lock()
	if s.cause == nil {
		s.cause = s.why(explain(cause))
	}
	s.mu.Unlock()
	// Yamux waits for its reader.
	s.opts.Shared.quit(s.budget)
	_ = s.ym.Close()
	_ = s.signals.Close()
	s.opts.Shared.leave(s.budget)
}

// why prefers what the connection failed with to the bare fact that it ended.
func (s *Session) why(cause error) error {
	if failure := s.link.failure(); failure != nil && errors.Is(cause, ErrPeerGone) {
		return explain(failure)
	}
	return cause
}

// explain replaces yamux's words for an ended session.
func explain(err error) error {
	switch {
	case err == nil, errors.Is(err, yamux.ErrSessionShutdown), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, yamux.ErrRemoteGoAway), errors.Is(err, io.ErrClosedPipe), errors.Is(err, os.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ErrPeerGone
	}
	return err
}
