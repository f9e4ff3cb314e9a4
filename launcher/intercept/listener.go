//go:build linux

package intercept

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// listener is a TCP socket of the debuggee that was bound or listens.
type listener struct {
	cookie uint64
	want   netip.AddrPort // what the debuggee asked for; its port is never 0
	real   netip.AddrPort // where the kernel has it
	shared bool           // SO_REUSEPORT was set when it was bound
	six    bool           // it takes IPv6 alone
	since  time.Time

	accepting sync.Mutex // one accept at a time on a blocking socket, so that a poll before it holds

	mu        sync.Mutex
	at        place         // where it was last seen
	untold    bool          // bound, but the bind that asked for it was interrupted
	listening bool          // listen was called
	announced chan struct{} // closed when Listening has returned; nil before listen
	stash     []accepted    // accepted, but the call was interrupted: the next accept gets them
}

// overlaps reports whether two sockets of one port exclude each other.
func (l *listener) overlaps(m *listener) bool {
	a, b := l.want.Addr(), m.want.Addr()
	if a.Is4() && m.six || b.Is4() && l.six {
		return false
	}
	return a == b || a.IsUnspecified() || b.IsUnspecified()
}

// takesSixOnly reports whether a socket bound to addr takes no IPv4.
func takesSixOnly(fd int, addr netip.Addr) bool {
	return addr.Is6() && (!addr.IsUnspecified() || option(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY) == 1)
}

// name is what getsockname tells; zero when the kernel's is right.
func (l *listener) name() netip.AddrPort {
	if l.want == l.real {
		return netip.AddrPort{}
	}
	return l.want
}

// alive reports whether the debuggee still has the socket. Its close is not notified, so this looks: where it was last
// seen, and else among the kernel's listeners, for a worker may hold it after its first owner is gone.
func (l *listener) alive() bool {
	l.mu.Lock()
	at, listening := l.at, l.listening
	l.mu.Unlock()
	if fd, err := at.process.descriptor(at.fd); err == nil {
		same := cookie(fd) == l.cookie
		_ = unix.Close(fd)
		if same {
			return true
		}
	}
	return listening && listensStill(l.cookie)
}

// toldAgain reports whether a bind to want was done, but its answer was lost.
func (l *listener) toldAgain(want netip.AddrPort) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	again := l.untold && (l.want == want || want.Port() == 0 && l.want.Addr() == want.Addr())
	l.untold = false
	return again
}

func (l *listener) seen(at place) {
	l.mu.Lock()
	l.at = at
	l.mu.Unlock()
}

func (l *listener) listens() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listening
}

func (l *listener) dropStash() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.stash {
		_ = unix.Close(conn.fd)
	}
	l.stash = nil
}

func (s *Supervisor) findListener(cookie uint64) *listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listeners[cookie]
}

func (s *Supervisor) keepListener(l *listener) {
	s.mu.Lock()
	s.listeners[l.cookie] = l
	s.noteKnown()
	s.mu.Unlock()
}

func (s *Supervisor) forgetListener(l *listener) {
	s.mu.Lock()
	if s.listeners[l.cookie] == l {
		delete(s.listeners, l.cookie)
	}
	s.noteKnown()
	s.mu.Unlock()
	l.dropStash()
}

// listenersFor are those that the debuggee asked to have on port.
func (s *Supervisor) listenersFor(port uint16) []*listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*listener
	for _, l := range s.listeners {
		if l.want.Port() == port {
			found = append(found, l)
		}
	}
	return found
}
