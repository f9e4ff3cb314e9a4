package launcher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// parentPatience is how long a living parent half may take to end its tree; it has a terminal to give back.
const parentPatience = 2 * time.Second

// noHeartbeat : on one machine the socket's end says it all, and a stopped process must not count as a lost one.
const noHeartbeat = 365 * 24 * time.Hour

// far is the adapter's end of the seat in one launcher's parent half.
type far struct {
	log     *zap.Logger
	opts    Options
	mark    mark
	session *mux.Session
	ready   chan struct{} // closed when session is set, or never will be
}

func newFar(log *zap.Logger, opts Options, m mark) *far {
	return &far{log: log, opts: opts, mark: m, ready: make(chan struct{})}
}

func (f *far) admit(ctx context.Context, conn *net.UnixConn, p peer, _ greeting) error {
	// The parent half ends its tree when conn ends. One that is dead cannot, then its tree is found by the mark.
	defer func() {
		p.ended(parentPatience)
		if err := sweep(context.WithoutCancel(ctx), 0, func(m mark) bool { return m == f.mark }); err != nil {
			f.log.Error("end debuggee", zap.Error(err))
		}
	}()
	if err := f.connect(ctx, conn); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = f.session.Close() })()
	defer f.session.Close()
	cause := f.session.Serve(func(st *mux.Stream) { f.serve(ctx, st) })
	f.log.Debug("parent half ended", zap.Int("pid", p.pid), zap.NamedError("cause", cause))
	return nil
}

func (f *far) connect(ctx context.Context, conn *net.UnixConn) error {
	defer close(f.ready)
	hangUp := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer hangUp()
	if err := conn.SetDeadline(time.Now().Add(handoverPatience)); err != nil {
		return errors.Join(fmt.Errorf("admit parent half: %w", err), conn.Close())
	}
	err := writeMessage(conn, answer{Plan: f.opts.Plan, Far: f.mark.String()})
	var s started
	if err == nil {
		err = readMessage(conn, &s)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("admit parent half: %w", err), conn.Close())
	}
	f.log.Debug("debuggee below a parent half", zap.Int("pid", s.Pid))
	if f.opts.Started != nil {
		f.opts.Started(s.Pid)
	}
	session, err := mux.Start(ctx, conn, mux.AdapterSide, muxOptions(f.log))
	if err != nil {
		return fmt.Errorf("admit parent half: %w", err)
	}
	f.session = session
	return nil
}

func muxOptions(log *zap.Logger) mux.Options {
	return mux.Options{Log: log, Hello: wire.Hello{Program: "podstep-launch"}, Heartbeat: noHeartbeat}
}

// serve answers one stream of the parent half.
func (f *far) serve(ctx context.Context, st *mux.Stream) {
	var conn splice.Conn
	var local netip.AddrPort
	var err error
	switch st.Header.Kind {
	case wire.KindDial:
		conn, local, err = f.opts.Link.Dial(ctx, st.Header.Address)
	case wire.KindDNS:
		conn, err = f.opts.Link.DNS(ctx)
	case wire.KindListening:
		if f.opts.Listening != nil {
			f.opts.Listening(ctx, st.Header.Port)
		}
		_ = st.Opened(wire.Answer{})
		_ = st.Close()
		return
	default:
		err = &wire.Refusal{Errno: errNotSupported, Text: "unknown stream " + string(st.Header.Kind)}
	}
	join(ctx, f.log, st, conn, local, err)
}

// join answers st: a refusal for err, else opened, and then everything between st and conn.
func join(ctx context.Context, log *zap.Logger, st *mux.Stream, conn splice.Conn, local netip.AddrPort, err error) {
	if err != nil {
		log.Debug("refuse", zap.String("kind", string(st.Header.Kind)), zap.Error(err))
		_ = st.Refuse(refusal(err))
		return
	}
	if err := st.Opened(wire.Answer{Local: local}); err != nil {
		splice.Reset(conn)
		st.Reset()
		return
	}
	if _, err := splice.Join(ctx, st, conn, splice.Options{}); err != nil {
		log.Debug("joint ended", zap.String("kind", string(st.Header.Kind)), zap.Error(err))
	}
}

// Deliver asks the parent half.
func (f *far) Deliver(ctx context.Context, port uint16, from, to netip.AddrPort) (splice.Conn, error) {
	select {
	case <-f.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("deliver to port %d: %w", port, context.Cause(ctx))
	}
	if f.session == nil {
		return nil, refused(port)
	}
	st, err := f.session.Open(ctx, wire.Header{Kind: wire.KindIncoming, Port: port, From: from, To: to}, nil)
	switch {
	case errors.Is(err, mux.ErrPeerGone), errors.Is(err, mux.ErrClosed):
		return nil, refused(port)
	case err != nil:
		return nil, fmt.Errorf("deliver to port %d: %w", port, err)
	}
	return st, nil
}

// Close does nothing: admit ends with its context.
func (f *far) Close() error { return nil }
