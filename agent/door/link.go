//go:build linux

package door

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Link is a connection over two descriptors, pipes or one socket.
type Link struct{ in, out *os.File }

// NewLink makes a link of two descriptors, which it owns from here on. They become pollable, so that Close ends a read that waits.
func NewLink(in, out int) (*Link, error) {
	for _, fd := range []int{in, out} {
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("open link: %w", err)
		}
	}
	return &Link{in: os.NewFile(uintptr(in), "in"), out: os.NewFile(uintptr(out), "out")}, nil
}

func (l *Link) Read(b []byte) (int, error)  { return l.in.Read(b) }
func (l *Link) Write(b []byte) (int, error) { return l.out.Write(b) }

// Close ends both directions. It may be called more than once.
func (l *Link) Close() error {
	err := errors.Join(l.in.Close(), l.out.Close())
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// send sends the first message.
func send(conn *net.UnixConn, what byte, fds ...int) error {
	if err := conn.SetWriteDeadline(time.Now().Add(greetTimeout)); err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err := conn.WriteMsgUnix([]byte{what}, rights, nil)
	return err
}

// receive receives the first message: what is asked for, and two descriptors with a link. The caller owns them.
func receive(conn *net.UnixConn) (what byte, link *Link, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(greetTimeout)); err != nil {
		return 0, nil, err
	}
	first, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(2*4))
	n, m, flags, _, err := conn.ReadMsgUnix(first, rights)
	if err != nil {
		return 0, nil, fmt.Errorf("first message: %w", err)
	}
	fds, err := descriptors(rights[:m])
	if err == nil && (n != 1 || flags&unix.MSG_CTRUNC != 0 || first[0] == askJoin && len(fds) != 2) {
		err = unix.EPROTO
	}
	if err == nil && first[0] == askJoin {
		link, err = NewLink(fds[0], fds[1])
	}
	if link == nil {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	if err != nil {
		return 0, nil, fmt.Errorf("first message: %w", err)
	}
	return first[0], link, conn.SetReadDeadline(time.Time{})
}

func descriptors(rights []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return all, err
		}
		all = append(all, fds...)
	}
	return all, nil
}
