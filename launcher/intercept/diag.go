//go:build linux

package intercept

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// TCP states of include/net/tcp_states.h.
const (
	tcpSynSent = 2
	tcpListen  = 10
)

// The layout of struct inet_diag_req_v2 and inet_diag_msg behind the netlink header (linux/inet_diag.h).
const (
	diagByFamily  = 20 // SOCK_DIAG_BY_FAMILY
	diagRequest   = unix.NLMSG_HDRLEN + 56
	diagState     = unix.NLMSG_HDRLEN + 1
	diagCookie    = unix.NLMSG_HDRLEN + 4 + 40
	diagMsgLength = unix.NLMSG_HDRLEN + 72
)

// tcpStateOf asks the kernel for the state of the TCP socket with this cookie between these addresses. It needs no
// privilege and no descriptor. ENOENT: there is no such socket, or the kernel has no sock_diag.
func tcpStateOf(cookie uint64, local, peer netip.AddrPort) (int, error) {
	fam := unix.AF_INET
	if local.Addr().Is6() {
		fam = unix.AF_INET6
	}
	m := diagQuery(fam, cookie, 0xffffffff, unix.NLM_F_REQUEST)
	binary.BigEndian.PutUint16(m[24:], local.Port())
	binary.BigEndian.PutUint16(m[26:], peer.Port())
	copy(m[28:44], local.Addr().AsSlice())
	copy(m[44:60], peer.Addr().AsSlice())
	state := 0
	err := diagAsk(m, func(msg []byte) bool {
		state = int(msg[diagState])
		return false
	})
	if err == nil && state == 0 {
		err = unix.ENOENT
	}
	return state, err
}

// listensStill reports whether a TCP socket with this cookie is a listener.
func listensStill(cookie uint64) bool {
	found := false
	for _, fam := range []int{unix.AF_INET, unix.AF_INET6} {
		m := diagQuery(fam, ^uint64(0), 1<<tcpListen, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
		_ = diagAsk(m, func(msg []byte) bool {
			low := uint64(binary.NativeEndian.Uint32(msg[diagCookie:]))
			high := uint64(binary.NativeEndian.Uint32(msg[diagCookie+4:]))
			found = found || high<<32|low == cookie
			return !found
		})
	}
	return found
}

func diagQuery(fam int, cookie uint64, states uint32, flags uint16) []byte {
	m := make([]byte, diagRequest)
	ne := binary.NativeEndian
	ne.PutUint32(m[0:], uint32(len(m)))
	ne.PutUint16(m[4:], diagByFamily)
	ne.PutUint16(m[6:], flags)
	m[16], m[17] = byte(fam), unix.IPPROTO_TCP
	ne.PutUint32(m[20:], states)
	ne.PutUint32(m[64:], uint32(cookie))
	ne.PutUint32(m[68:], uint32(cookie>>32))
	return m
}

// diagAsk sends m and calls each for every answer until it returns false.
func diagAsk(m []byte, each func(msg []byte) bool) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return fmt.Errorf("open sock_diag: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask sock_diag: %w", err)
	}
	buf := make([]byte, 32<<10)
	dump := binary.NativeEndian.Uint16(m[6:])&unix.NLM_F_DUMP != 0
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return fmt.Errorf("read sock_diag: %w", err)
		}
		for rest := buf[:n]; len(rest) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < unix.NLMSG_HDRLEN || size > len(rest) {
				return fmt.Errorf("sock_diag message of %d bytes: %w", size, syscall.EBADMSG)
			}
			switch binary.NativeEndian.Uint16(rest[4:]) {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if size >= unix.NLMSG_HDRLEN+4 {
					return unix.Errno(-int32(binary.NativeEndian.Uint32(rest[unix.NLMSG_HDRLEN:])))
				}
				return unix.EBADMSG
			case diagByFamily:
				if size < diagMsgLength {
					return unix.EBADMSG
				}
				if !each(rest[:size]) {
					return nil
				}
			}
			rest = rest[min(len(rest), (size+3)&^3):]
		}
		if !dump {
			return nil
		}
	}
}
