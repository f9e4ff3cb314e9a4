package pod

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// message is what the pod's maker and its first process tell each other, one packet each.
type message struct {
	Setup *setup `json:"setup,omitempty"`
	Start *start `json:"start,omitempty"`

	ID      int                 `json:"id,omitempty"`
	Refused *refused            `json:"refused,omitempty"`
	Exited  *syscall.WaitStatus `json:"exited,omitempty"`
}

type setup struct {
	Hostname  string
	Addresses []netip.Addr
	Names     map[string]netip.Addr
	Search    []string
	Resolver  netip.Addr
	Etc       string
}

type start struct {
	ID   int
	Args []string
	Env  []string
	Dir  string
}

// refused is an error of the first process.
type refused struct {
	Errno syscall.Errno
	Text  string
}

func (r *refused) Error() string { return r.Text }

func (r *refused) Unwrap() error {
	if r.Errno == 0 {
		return nil
	}
	return r.Errno
}

// maxMessage fits the environment of a service, in bytes.
const maxMessage = 128 << 10

func packetPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "pod")
	ours, err = packetConn(os.NewFile(uintptr(fds[0]), "pod"))
	return ours, theirs, err
}

// packetConn takes over f.
func packetConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("a %T is no unix socket", conn)
	}
	return unixConn, nil
}

func send(conn *net.UnixConn, m message, files ...*os.File) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err = conn.WriteMsgUnix(body, rights, nil)
	return err
}

func receive(conn *net.UnixConn) (m message, files []*os.File, err error) {
	body, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(3*4))
	n, nrights, flags, _, err := conn.ReadMsgUnix(body, rights)
	if err != nil {
		return m, nil, err
	}
	if n == 0 {
		return m, nil, io.EOF
	}
	if flags&unix.MSG_TRUNC != 0 {
		return m, nil, fmt.Errorf("message over %d bytes", maxMessage)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:nrights])
	if err != nil {
		return m, nil, err
	}
	for _, c := range messages {
		fds, err := unix.ParseUnixRights(&c)
		if err != nil {
			return m, nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return m, files, json.Unmarshal(body[:n], &m)
}
