// Package listen waits for editors on a loopback port and admits only those of this user: an open debug port lets whoever
// reaches it run code. It knows nothing of what is spoken.
package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"go.uber.org/zap"
)

// ErrNotLoopback says that an address can be reached by others.
var ErrNotLoopback = errors.New("not a loopback address")

// Loopback listens on address, which is a loopback IP address with a port; port 0 is any free one. Another address wraps
// ErrNotLoopback. The caller closes the listener.
func Loopback(ctx context.Context, address string) (net.Listener, error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q is not of the form 127.0.0.1:PORT: %w", address, err)
	}
	if !a.Addr().IsLoopback() {
		return nil, fmt.Errorf("listen on %s: %w", a, ErrNotLoopback)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.String())
	if err != nil {
		return nil, fmt.Errorf("wait for editors: %w", err)
	}
	return l, nil
}

// Serve admits editors and calls session for each, which owns the connection and closes it. Serve returns when the last
// session has ended, so that an editor which never says goodbye leaves nothing behind, or when ctx is done; it closes l.
// It runs one goroutine per session and waits for them. Its error joins theirs.
func Serve(ctx context.Context, l net.Listener, log *zap.Logger, session func(context.Context, net.Conn) error) error {
	s := &server{listener: l}
	defer context.AfterFunc(ctx, s.stop)()
	defer s.sessions.Wait()
	defer s.stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			s.sessions.Wait()
			return s.result(err)
		}
		if err := sameUser(conn); err != nil {
			log.Warn("editor refused", zap.Stringer("from", conn.RemoteAddr()), zap.Error(err))
			_ = conn.Close()
			continue
		}
		s.begin()
		s.sessions.Go(func() { s.end(session(ctx, conn)) })
	}
}

// server counts sessions.
type server struct {
	listener net.Listener
	sessions sync.WaitGroup // the sessions' goroutines

	mu      sync.Mutex
	running int
	stopped bool
	errs    []error
}

func (s *server) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
}

// end notes how a session ended; the last one ends the server.
func (s *server) end(err error) {
	s.mu.Lock()
	s.running--
	last := s.running == 0
	if err != nil {
		s.errs = append(s.errs, err)
	}
	s.mu.Unlock()
	if last {
		s.stop()
	}
}

func (s *server) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	_ = s.listener.Close()
}

// result is what the sessions returned, and the accept error unless the server was stopped.
func (s *server) result(accept error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.errs = append(s.errs, fmt.Errorf("wait for editors: %w", accept))
	}
	return errors.Join(s.errs...)
}
