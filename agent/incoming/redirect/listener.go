//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// backlog is how many connections wait to be accepted, each with at most the 64 KiB that a first window is.
const backlog = 256

// acceptAgain is the pause after an accept that failed for want of descriptors or memory.
const acceptAgain = 20 * time.Millisecond

// listen opens one listener on loopback for each address family that the namespace has, on random ports.
func (s *Steal) listen() error {
	var failed error
	for _, at := range []struct{ network, address string }{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}} {
		config := net.ListenConfig{Control: transparent(at.network)}
		l, err := config.Listen(context.Background(), at.network, at.address)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		listener := l.(*net.TCPListener)
		s.listeners = append(s.listeners, listener)
		if err := shorten(listener); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	if len(s.listeners) > 0 && !errors.Is(failed, syscall.EPERM) {
		return nil
	}
	return errors.Join(s.explain(failed), s.closeListeners())
}

// transparent lets a listener accept connections to addresses that are not its own, which only the kernel's rule makes.
// SO_REUSEADDR, which net sets, lets the target bind its port again while accepted connections hold it.
func transparent(network string) func(string, string, syscall.RawConn) error {
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if network == "tcp6" {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	return func(_, _ string, raw syscall.RawConn) error {
		return control(raw, func(fd int) error {
			if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
				return fmt.Errorf("set IP_TRANSPARENT: %w", err)
			}
			return bound(fd)
		})
	}
}

// shorten bounds the listener's queue, for which package net takes as much as the system allows.
func shorten(l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error {
		if err := unix.Listen(fd, backlog); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		return nil
	})
}

func control(raw syscall.RawConn, do func(fd int) error) error {
	var err error
	if cerr := raw.Control(func(fd uintptr) { err = do(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// accept hands connections over until the listener is closed.
func (s *Steal) accept(l *net.TCPListener, accepted Accepted) {
	for {
		conn, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.opts.Log.Warn("accept", zap.Uint16("port", s.port), zap.Error(err))
			time.Sleep(acceptAgain)
			continue
		}
		from, to := address(conn.RemoteAddr()), address(conn.LocalAddr())
		if to.Port() != s.port {
			// Made to the listener itself, not diverted: passing it through would come back here for ever.
			s.opts.Log.Debug("stranger at the listener", zap.Stringer("from", from))
			_ = conn.SetLinger(0)
			_ = conn.Close()
			continue
		}
		accepted(conn, from, to)
	}
}

func (s *Steal) closeListeners() error {
	var err error
	for _, l := range s.listeners {
		if cerr := l.Close(); cerr != nil && !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	return err
}

func address(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
