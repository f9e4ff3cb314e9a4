//go:build linux

package intercept

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// doorsPerFamily spreads connections over several loopback ports: each pair of ports rests for a minute after use.
const doorsPerFamily = 4

// enterTimeout bounds a simultaneous open, which takes about 0.1 ms.
const enterTimeout = 3 * time.Second

// doors are loopback ports where nobody ever answers: a listener whose queue is full, so that the kernel drops every
// SYN. A debuggee's socket that connects there stays in SYN_SENT as towards a slow peer, with its timeouts, its epoll
// registrations and its blocking mode alive, until enter completes it from the very port: TCP's simultaneous open
// (RFC 9293 §3.5). That needs no privilege.
type doors struct {
	four, six []netip.AddrPort // six is empty without an IPv6 loopback
	next      atomic.Uint32
	fds       []int
	diag      bool // the kernel has sock_diag for TCP
}

func openDoors() (*doors, error) {
	d := &doors{}
	for range doorsPerFamily {
		ap, err := d.open(loopback4)
		if err != nil {
			d.close()
			return nil, fmt.Errorf("open a loopback port: %w", err)
		}
		d.four = append(d.four, ap)
		if ap, err := d.open(loopback6); err == nil {
			d.six = append(d.six, ap)
		}
	}
	return d, nil
}

func (d *doors) open(addr netip.Addr) (netip.AddrPort, error) {
	fam := unix.AF_INET
	if addr.Is6() {
		fam = unix.AF_INET6
	}
	fd, err := unix.Socket(fam, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.AddrPort{}, err
	}
	d.fds = append(d.fds, fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return netip.AddrPort{}, err
	}
	sa, _ := encodeSockaddr(fam, netip.AddrPortFrom(addr, 0))
	if errno := rawBind(fd, sa); errno != 0 {
		return netip.AddrPort{}, errno
	}
	if err := unix.Listen(fd, 0); err != nil {
		return netip.AddrPort{}, err
	}
	at := localName(fd)
	if !d.diag {
		d.diag = listensStill(cookie(fd))
	}
	filler, err := unix.Socket(fam, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return netip.AddrPort{}, err
	}
	d.fds = append(d.fds, filler)
	sa, _ = encodeSockaddr(fam, at)
	if errno := connectRaw(filler, sa); errno != 0 && errno != unix.EINPROGRESS {
		return netip.AddrPort{}, errno
	}
	return at, nil
}

func (d *doors) close() {
	for _, fd := range d.fds {
		_ = unix.Close(fd)
	}
}

// choose picks the door for a debuggee's socket and encodes it in the socket's family.
func (d *doors) choose(fd, domain int) (door netip.AddrPort, sa []byte, errno syscall.Errno) {
	i := int(d.next.Add(1))
	door = d.four[i%len(d.four)]
	if domain == unix.AF_INET6 && onlySix(fd) {
		if len(d.six) == 0 {
			return door, nil, unix.ENETUNREACH
		}
		door = d.six[i%len(d.six)]
	}
	sa, _ = encodeSockaddr(domain, door)
	return door, sa, 0
}

// onlySix reports whether an AF_INET6 socket cannot talk to an IPv4 address: by option, or because it is bound to an
// IPv6 one.
func onlySix(fd int) bool {
	if option(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY) == 1 {
		return true
	}
	bound := localName(fd).Addr()
	return bound.Is6() && !bound.IsUnspecified()
}

// enter completes the debuggee's socket at local, which waits at door.
func (d *doors) enter(ctx context.Context, door, local netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, enterTimeout)
	defer cancel()
	dialer := net.Dialer{KeepAlive: -1, ControlContext: func(_ context.Context, _, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
				return err
			}
			return bindTo(fd, door)
		})
	}}
	conn, err := dialer.DialContext(ctx, "tcp", local.String())
	if err != nil {
		return nil, fmt.Errorf("enter %s from %s: %w", local, door, err)
	}
	return conn.(*net.TCPConn), nil
}

// control runs f on the socket of c.
func control(c syscall.RawConn, f func(fd int) error) error {
	var inner error
	err := c.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}

// bindTo binds one of our own sockets.
func bindTo(fd int, ap netip.AddrPort) error {
	fam := unix.AF_INET
	if ap.Addr().Is6() {
		fam = unix.AF_INET6
	}
	sa, _ := encodeSockaddr(fam, ap)
	if errno := rawBind(fd, sa); errno != 0 {
		return errno
	}
	return nil
}
