// Package mux carries many streams over one connection: greeting, header and answer of each stream, half-close, reset,
// heartbeats, and one cap on all that is buffered. It knows nothing of what the streams are for.
package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
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
	// Window is how many bytes of one stream may be under way unread. If zero, 4 MiB.
	Window uint32
	// Heartbeat is the interval of heartbeats; three missed ones end the session. If zero, 5 s.
	Heartbeat time.Duration
	// GreetTimeout bounds the greeting. If zero, 10 s.
	GreetTimeout time.Duration
	// Streams is how many streams of the other end are served at once; more are refused with EAGAIN. If zero, 4096.
	Streams int
}

const headerTimeout = 10 * time.Second

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Window == 0 {
		o.Window = 4 << 20
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
	return o
}

// Session is one link. Its goroutines: yamux's reader and writer; the signal reader and the heartbeat, both ended by
// Close; and one for each stream that Serve hands out, which Serve waits for.
type Session struct {
	// Peer is the other end's greeting.
	Peer wire.Hello

	opts    Options
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
	peer, err := greet(ctx, conn, opts)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.MaxStreamWindowSize = opts.Window
	config.StreamCloseTimeout = 0
	config.StreamOpenTimeout = 0
	config.AcceptBacklog = 1024
	config.LogOutput = nil
	config.Logger = yamuxLog{opts.Log.Named("yamux").Sugar()}
	open := yamux.Server
	if side == AdapterSide {
		open = yamux.Client
	}
	ym, err := open(conn, config)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start link: %w", err), conn.Close())
	}
	s := &Session{Peer: peer, opts: opts, ym: ym, streams: map[uint32]*Stream{}}
	if s.signals, err = startSignals(ym, side); err != nil {
		return nil, errors.Join(err, ym.Close())
	}
	s.group.Go(func() error { s.end(s.readSignals()); return nil })
	s.group.Go(func() error { s.beat(); return nil })
	return s, nil
}

// greet writes and reads at once: over an unbuffered transport the two ends would otherwise wait for each other.
func greet(ctx context.Context, conn io.ReadWriteCloser, opts Options) (wire.Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, opts.GreetTimeout)
	defer cancel()
	hangUp := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer hangUp()
	var peer wire.Hello
	var group errgroup.Group
	group.Go(func() error { return wire.WriteHello(conn, opts.Hello) })
	group.Go(func() (err error) {
		if peer, err = wire.ReadHello(conn); err != nil {
			// The writer may be stuck in an unread pipe.
			_ = conn.Close()
		}
		return err
	})
	err := group.Wait()
	if ctx.Err() != nil {
		err = errors.Join(fmt.Errorf("greet: %w", context.Cause(ctx)), err)
	}
	return peer, err
}

// Open opens a stream: it sends h and the first bytes in one write and waits for the answer. A refusal is returned as
// *wire.Refusal; then, and on any error, there is no stream. The caller closes the stream.
func (s *Session) Open(ctx context.Context, h wire.Header, first []byte) (*Stream, error) {
	ys, err := s.ym.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("open %s stream: %w", h.Kind, s.explain(err))
	}
	st := s.track(ys)
	st.Header = h
	hangUp := context.AfterFunc(ctx, st.Reset)
	defer hangUp()
	if err := wire.WriteFrame(st, h, first); err != nil {
		st.Reset()
		return nil, fmt.Errorf("open %s stream: %w", h.Kind, s.explain(err))
	}
	var answer wire.Answer
	if err := wire.ReadFrame(st, &answer); err != nil {
		st.Reset()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("open %s stream: %w", h.Kind, s.explain(err))
	}
	if answer.Refusal != nil {
		_ = st.Close()
		return nil, answer.Refusal
	}
	if !hangUp() {
		return nil, fmt.Errorf("open %s stream: %w", h.Kind, context.Cause(ctx))
	}
	st.Answer = answer
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
		if !group.TryGo(func() error { s.serve(st, handle); return nil }) {
			_ = st.Refuse(&wire.Refusal{Errno: errAgain, Text: "too many streams"})
		}
	}
}

func (s *Session) serve(st *Stream, handle func(*Stream)) {
	_ = st.SetReadDeadline(time.Now().Add(headerTimeout))
	if err := wire.ReadFrame(st, &st.Header); err != nil {
		s.opts.Log.Warn("stream without a header", zap.Error(err))
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
		return ErrPeerGone
	}
	return s.cause
}

// end records the first cause and closes everything.
func (s *Session) end(cause error) {
	s.mu.Lock()
	if s.cause == nil {
		s.cause = s.explain(cause)
	}
	s.mu.Unlock()
	_ = s.ym.Close()
	_ = s.signals.Close()
}

// explain replaces yamux's words for an ended session.
func (s *Session) explain(err error) error {
	switch {
	case err == nil, errors.Is(err, yamux.ErrSessionShutdown), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, yamux.ErrRemoteGoAway), errors.Is(err, io.ErrClosedPipe):
		return ErrPeerGone
	}
	return err
}
