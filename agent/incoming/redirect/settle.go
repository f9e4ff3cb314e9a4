//go:build linux

package redirect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// settleEvery is how often Settle looks, and how long it waits at least: a SYN may have passed the rule just before it
// went and not be a connection yet.
const settleEvery = 20 * time.Millisecond

// Settle returns when no connection that was diverted before Release is left in the kernel, where Close would reset it:
// neither in its handshake nor waiting to be accepted. It waits until ctx ends while it cannot tell.
func (s *Steal) Settle(ctx context.Context) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n, err := s.underWay()
		if err != nil {
			s.opts.Log.Warn("count half-open connections", zap.Uint16("port", s.port), zap.Error(err))
			<-ctx.Done()
			return
		}
		if n == 0 {
			return
		}
	}
}

// underWay counts connections in their handshake with the port, the target's own too, and diverted ones not yet accepted.
func (s *Steal) underWay() (int, error) {
	n, err := halfOpen(s.port)
	if err != nil {
		return 0, err
	}
	for _, l := range s.listeners {
		raw, err := l.SyscallConn()
		if err != nil {
			return 0, err
		}
		err = control(raw, func(fd int) error {
			// Of a listener, unacked is the length of its queue (tcp_get_info).
			info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
			if err == nil {
				n += int(info.Unacked)
			}
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("read TCP_INFO: %w", err)
		}
	}
	return n, nil
}

// Of linux/sock_diag.h, linux/inet_diag.h and net/tcp_states.h.
const (
	sockDiagByFamily = 20
	sizeDiagRequest  = 56 // struct inet_diag_req_v2
	stateSynRecv     = 1 << 3
)

// halfOpen counts the connections to port of this network namespace whose handshake is under way.
func halfOpen(port uint16) (n int, err error) {
	sock, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return 0, fmt.Errorf("open sock_diag: %w", err)
	}
	defer func() { err = errors.Join(err, sock.Close()) }()
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		request := make([]byte, sizeDiagRequest)
		request[0], request[1] = family, unix.IPPROTO_TCP
		binary.NativeEndian.PutUint32(request[4:], stateSynRecv)
		binary.BigEndian.PutUint16(request[8:], port)
		replies, err := sock.Execute(netlink.Message{
			Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
			Data:   request,
		})
		if errors.Is(err, unix.ENOENT) && family == unix.AF_INET6 {
			// A kernel without IPv6.
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("dump half-open connections: %w", err)
		}
		n += len(replies)
	}
	return n, nil
}
