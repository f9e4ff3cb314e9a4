//go:build linux

package redirect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Of linux/sock_diag.h, linux/inet_diag.h and net/tcp_states.h; see settle.go, too.
const (
	sockDestroy = 21 // Linux 4.5, CONFIG_INET_DIAG_DESTROY
	diagInfo    = 2  // INET_DIAG_INFO
	established = 1  // TCP_ESTABLISHED

	sizeDiagID      = 48                  // struct inet_diag_sockid
	sizeDiagMessage = 4 + sizeDiagID + 20 // struct inet_diag_msg
)

// ErrNoDestroy says that the kernel resets no sockets of other processes.
var ErrNoDestroy = errors.New("the kernel lacks SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY)")

// Socket is an established TCP socket of this network namespace.
type Socket struct {
	// Inode tells sockets apart, and whose they are (/proc/PID/fd).
	Inode         uint32
	Local, Remote netip.AddrPort
	// Idle is how long it looks as a server's between two requests: what came was read, something went out after it or nothing
	// came at all, and nothing has come since. It is 0 when it does not look so.
	Idle time.Duration

	family byte
	id     [sizeDiagID]byte
}

// Sockets are the kernel's, to be looked at and reset.
type Sockets struct{ conn *netlink.Conn }

// OpenSockets may be used by one goroutine at a time. The caller calls Close.
func OpenSockets() (*Sockets, error) {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for sockets: %w", err)
	}
	return &Sockets{conn}, nil
}

// Close closes it.
func (s *Sockets) Close() error { return s.conn.Close() }

// To lists the established ones whose own port is port.
func (s *Sockets) To(port uint16) ([]Socket, error) {
	var list []Socket
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		request := diagRequest(family, [sizeDiagID]byte{})
		request[2] = 1 << (diagInfo - 1) // idiag_ext
		binary.NativeEndian.PutUint32(request[4:], 1<<established)
		binary.BigEndian.PutUint16(request[8:], port) // idiag_sport
		replies, err := s.conn.Execute(netlink.Message{
			Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump}, Data: request,
		})
		if errors.Is(err, unix.ENOENT) && family == unix.AF_INET6 {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list sockets: %w", err)
		}
		for _, r := range replies {
			if socket, ok := parseSocket(r.Data); ok && socket.Local.Port() == port {
				list = append(list, socket)
			}
		}
	}
	return list, nil
}

// Reset resets a socket: both ends read ECONNRESET or ECONNABORTED. One that is gone is no error. The error is ErrNoDestroy where the kernel
// cannot, EPERM without CAP_NET_ADMIN.
func (s *Sockets) Reset(socket Socket) error {
	_, err := s.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: sockDestroy, Flags: netlink.Request | netlink.Acknowledge},
		Data:   diagRequest(socket.family, socket.id),
	})
	switch {
	case errors.Is(err, syscall.ENOENT):
		return nil
	case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EINVAL):
		return ErrNoDestroy
	case err != nil:
		return fmt.Errorf("reset a socket: %w", err)
	}
	return nil
}

// diagRequest is struct inet_diag_req_v2 about TCP.
func diagRequest(family byte, id [sizeDiagID]byte) []byte {
	request := make([]byte, sizeDiagRequest)
	request[0], request[1] = family, unix.IPPROTO_TCP
	copy(request[8:], id[:])
	return request
}

// parseSocket reads struct inet_diag_msg and the times of struct tcp_info behind it.
func parseSocket(b []byte) (socket Socket, ok bool) {
	if len(b) < sizeDiagMessage || b[1] != established {
		return socket, false
	}
	socket.family = b[0]
	copy(socket.id[:], b[4:])
	socket.Local = addrPort(b[0], b[4:], b[8:])
	socket.Remote = addrPort(b[0], b[6:], b[24:])
	unread := binary.NativeEndian.Uint32(b[sizeDiagMessage-16:]) // idiag_rqueue
	unsent := binary.NativeEndian.Uint32(b[sizeDiagMessage-12:]) // idiag_wqueue
	socket.Inode = binary.NativeEndian.Uint32(b[sizeDiagMessage-4:])
	attributes, err := netlink.NewAttributeDecoder(b[sizeDiagMessage:])
	if err != nil {
		return socket, false
	}
	for attributes.Next() {
		if attributes.Type() == diagInfo && unread == 0 && unsent == 0 {
			socket.Idle = idleFor(attributes.Bytes())
		}
	}
	return socket, attributes.Err() == nil
}

// sameTick is how long a connection is quiet before what went out in the same tick of the kernel's clock as the last that came is taken for
// the answer to that.
const sameTick = 300 * time.Millisecond

// idleFor reads a socket's struct tcp_info (linux/tcp.h, as of Linux 4.6).
func idleFor(info []byte) time.Duration {
	if len(info) < 160 {
		return 0
	}
	at := func(offset int) uint32 { return binary.NativeEndian.Uint32(info[offset:]) }
	sent, received := milliseconds(at(44)), milliseconds(at(52)) // tcpi_last_data_sent, _recv: so long ago
	segmentsIn, segmentsOut := at(152), at(156)                  // tcpi_data_segs_in, _out
	switch {
	case segmentsIn == 0:
		return received
	case segmentsOut == 0 || sent > received, sent == received && received < sameTick:
		return 0
	}
	return sent
}

func milliseconds(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }

func addrPort(family byte, port, address []byte) netip.AddrPort {
	n := 4
	if family == unix.AF_INET6 {
		n = 16
	}
	a, _ := netip.AddrFromSlice(address[:n])
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

// Of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctTupleReply = 2 // CTA_TUPLE_REPLY
	ctTupleIP    = 1
	ctTupleProto = 2
	ctV4Dst      = 2
	ctV6Dst      = 4
	ctProtoDst   = 3
)

// Shown are the addresses under which connections that an agent passes through are seen by their targets, as their kernel remembers them.
func Shown() (map[netip.AddrPort]bool, error) {
	shown := map[netip.AddrPort]bool{}
	err := conntrack(func(sock *netlink.Conn) error {
		replies, err := sock.Execute(byMark(ctGet, netlink.Request|netlink.Dump, entryMark, entryMask))
		if err != nil {
			return err
		}
		for _, r := range replies {
			if len(r.Data) < 4 {
				continue
			}
			attributes, err := netlink.NewAttributeDecoder(r.Data[4:])
			if err != nil {
				return err
			}
			attributes.ByteOrder = binary.BigEndian
			var mark uint32
			var to netip.AddrPort
			for attributes.Next() {
				switch attributes.Type() {
				case ctMark:
					mark = attributes.Uint32()
				case ctTupleReply:
					attributes.Nested(func(tuple *netlink.AttributeDecoder) error { to = destination(tuple); return nil })
				}
			}
			if err := attributes.Err(); err != nil {
				return err
			}
			if mark&entryMask == entryMark && to.IsValid() {
				shown[to] = true
			}
		}
		return nil
	})
	return shown, err
}

// destination is where a tuple leads to.
func destination(tuple *netlink.AttributeDecoder) netip.AddrPort {
	var address netip.Addr
	var port uint16
	for tuple.Next() {
		part := tuple.Type()
		tuple.Nested(func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				switch {
				case part == ctTupleIP && (ad.Type() == ctV4Dst || ad.Type() == ctV6Dst):
					address, _ = netip.AddrFromSlice(ad.Bytes())
				case part == ctTupleProto && ad.Type() == ctProtoDst:
					port = ad.Uint16()
				}
			}
			return nil
		})
	}
	if !address.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(address.Unmap(), port)
}
