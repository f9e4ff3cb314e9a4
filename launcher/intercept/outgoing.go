//go:build linux

package intercept

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"podstep.dev/internal/splice"
)

// outgoing is a TCP socket of the debuggee that is connected, or being connected, by the pod. Its kernel socket goes to
// a door on loopback; what the debuggee believes of it stands here.
type outgoing struct {
	cookie uint64
	remote netip.AddrPort // what the debuggee asked for
	door   netip.AddrPort // where its socket really goes
	real   netip.AddrPort // its socket's own address
	doorSA []byte
	cancel context.CancelFunc // of the dial

	mu      sync.Mutex
	at      place
	local   netip.AddrPort // what getsockname tells; zero: the kernel's
	dialing bool           // there is no verdict yet
	enters  bool           // there is: its socket is being completed
	// verdict : the socket is not at a door; its connect is held until the verdict (MPTCP).
	verdict bool
	untold  bool          // no answer reached the connect that began it: interrupted, it comes again
	failed  syscall.Errno // the verdict that the debuggee was not told
	fetched bool          // SO_ERROR has told it
	blocked []*call       // connects that wait for the verdict
	ended   time.Time     // zero while the connection stands
}

// again duplicates the debuggee's socket once more. None is kept while a dial is under way: it would keep the socket
// open behind the debuggee's close. The caller closes it, and holds o.mu.
func (o *outgoing) again() (int, error) {
	fd, err := o.at.process.descriptor(o.at.fd)
	if err != nil {
		return -1, err
	}
	if cookie(fd) != o.cookie {
		_ = unix.Close(fd)
		return -1, unix.EBADF
	}
	return fd, nil
}

// waitsAtDoor reports whether the debuggee's socket is still in SYN_SENT: it may have been closed, and its port may
// belong to a stranger by now. Asking the kernel by cookie takes no duplicate, not even of a stranger's socket that has
// the descriptor's number by now.
func (s *Supervisor) waitsAtDoor(o *outgoing) bool {
	if s.doors.diag {
		state, err := tcpStateOf(o.cookie, o.real, o.door)
		return err == nil && state == tcpSynSent
	}
	fd, err := o.again()
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return tcpState(fd) == tcpSynSent
}

// dial asks the pod for the connection and brings its verdict to the debuggee's socket.
func (s *Supervisor) dial(ctx context.Context, o *outgoing) {
	defer o.cancel()
	conn, local, err := s.reach(ctx, o.remote)
	if err != nil {
		s.log.Debug("connect refused", zap.Stringer("to", o.remote), zap.Error(err))
		s.refuse(o, errnoOf(err))
		return
	}
	inner, ok := s.complete(ctx, o, local)
	if !ok {
		splice.Reset(conn)
		return
	}
	stats, err := splice.Join(ctx, inner, conn, splice.Options{})
	s.log.Debug("connection over", zap.Stringer("to", o.remote), zap.Int64("sent", stats.AToB), zap.Int64("received", stats.BToA), zap.Error(err))
	o.mu.Lock()
	o.ended = time.Now()
	o.mu.Unlock()
}

// reach dials as the pod does; a resolver's port leads to the pod's resolver.
func (s *Supervisor) reach(ctx context.Context, to netip.AddrPort) (splice.Conn, netip.AddrPort, error) {
	if !s.opts.Rules.DNS(to) {
		return s.opts.Link.Dial(ctx, to)
	}
	conn, err := s.opts.Link.DNS(ctx)
	return conn, netip.AddrPort{}, err
}

// complete makes the debuggee's socket a connected one and returns our end of it. It is false when the debuggee gave
// up meanwhile.
func (s *Supervisor) complete(ctx context.Context, o *outgoing, local netip.AddrPort) (*net.TCPConn, bool) {
	o.mu.Lock()
	if !o.dialing || !o.verdict && !s.waitsAtDoor(o) {
		s.log.Debug("connection no longer wanted", zap.Stringer("to", o.remote))
		s.abandonLocked(o, unix.ECONNABORTED)
		o.mu.Unlock()
		return nil, false
	}
	o.enters = true
	if local.IsValid() {
		o.local = local
	}
	o.mu.Unlock()
	if o.verdict {
		return s.completeMPTCP(ctx, o)
	}
	inner, err := s.doors.enter(ctx, o.door, o.real)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dialing, o.enters = false, false
	if err != nil {
		s.log.Debug("connection gone", zap.Stringer("to", o.remote), zap.Error(err))
		s.abandonLocked(o, unix.ECONNABORTED)
		return nil, false
	}
	if o.waitedForLocked() {
		if fd, err := o.again(); err == nil { // the connect that is answered is over in the kernel too
			connectNow(fd, o.doorSA)
			_ = unix.Close(fd)
		}
		o.untold = true
	}
	if o.answerLocked(0) {
		o.untold = false
	}
	return inner, true
}

// refuse gives the debuggee's socket the pod's errno. In SYN_SENT a shutdown is a disconnect that wakes everything that
// waits on the socket; the errno itself is told by whichever call asks for it.
func (s *Supervisor) refuse(o *outgoing, errno syscall.Errno) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.dialing {
		return
	}
	if !o.verdict && !s.waitsAtDoor(o) {
		s.abandonLocked(o, errno)
		return
	}
	o.dialing, o.untold = false, false
	o.ended = time.Now()
	s.setFailed(o, errno) // first: the shutdown wakes those who ask for it
	if o.verdict {
		s.log.Debug("refusal told by the connect that waits", zap.Stringer("to", o.remote))
	} else if fd, err := o.again(); err == nil {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		if o.waitedForLocked() {
			option(fd, unix.SOL_SOCKET, unix.SO_ERROR) // told by connect: clear the kernel's ECONNRESET
		}
		_ = unix.Close(fd)
	}
	if o.answerLocked(errno) { // only an answer that arrived is the telling
		s.setFailed(o, 0)
	}
}

// setFailed notes the errno that the debuggee was not told yet, 0 for none. It needs o.mu.
func (s *Supervisor) setFailed(o *outgoing, errno syscall.Errno) {
	if (o.failed != 0) != (errno != 0) {
		if errno != 0 {
			s.failed.Add(1)
		} else {
			s.failed.Add(-1)
		}
	}
	o.failed = errno
}

// waitedForLocked reports whether a connect that waits was not interrupted.
func (o *outgoing) waitedForLocked() bool {
	return slices.ContainsFunc(o.blocked, (*call).waiting)
}

// answerLocked answers the connects that wait and reports whether one was still there.
func (o *outgoing) answerLocked(errno syscall.Errno) (told bool) {
	for _, c := range o.blocked {
		told = c.fail(errno) || told
	}
	o.blocked = nil
	return told
}

// abandonLocked ends o for a debuggee that closed or disconnected the socket; connects that still wait get errno.
func (s *Supervisor) abandonLocked(o *outgoing, errno syscall.Errno) {
	o.dialing = false
	o.ended = time.Now()
	o.cancel()
	s.setFailed(o, 0)
	o.answerLocked(errno)
}

func (s *Supervisor) findOutgoing(cookie uint64) *outgoing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outgoing[cookie]
}
