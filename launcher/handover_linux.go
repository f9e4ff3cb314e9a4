package launcher

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/wire"
)

// What a launcher and the seat of its supervisor say to each other before the debuggee runs:
//
//	launcher                     seat
//	greeting        ->
//	                <-           answer{Plan}
//	listener (fd)   ->
//	                <-           verdict; the launcher execs
//
// A Host that is no ancestor of the launcher answers with Far; then the launcher stays as the parent half, says started
// and both go on with mux. Its child does the dialogue above with it. Messages are four bytes of length, big endian,
// and JSON: an environment does not fit a wire frame.

// handoverVersion changes when old launchers and new adapters would misunderstand each other.
const handoverVersion = 1

// handoverPatience bounds each dialogue up to the exec, all of which happens on one machine.
const handoverPatience = 10 * time.Second

type greeting struct {
	Version int  `json:"version"`
	Traced  bool `json:"traced,omitempty"`
}

type answer struct {
	// Refused says why not. Then nothing else is set.
	Refused string `json:"refused,omitempty"`
	Plan    Plan   `json:"plan"`
	// Far is the mark for the tree of a launcher that has to supervise itself. If empty, the seat is here.
	Far string `json:"far,omitempty"`
}

// started is the parent half's word that its child waits.
type started struct {
	Pid int `json:"pid"`
}

// verdict follows the listener.
type verdict struct {
	Refused string `json:"refused,omitempty"`
}

func writeMessage(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(body) > wire.MaxControl {
		return fmt.Errorf("encode message of %d bytes, at most %d: %w", len(body), wire.MaxControl, wire.ErrFrame)
	}
	if _, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

// readMessage reads one message and not a byte more.
func readMessage(r io.Reader, v any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > wire.MaxControl {
		return fmt.Errorf("message of %d bytes, at most %d: %w", n, wire.MaxControl, wire.ErrFrame)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decode message: %w: %w", wire.ErrFrame, err)
	}
	return nil
}

// sendDescriptor passes fd on with one byte. The caller keeps its own.
func sendDescriptor(conn *net.UnixConn, fd int) error {
	if _, _, err := conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fd), nil); err != nil {
		return fmt.Errorf("pass descriptor: %w", err)
	}
	return nil
}

// receiveDescriptor takes the one descriptor of sendDescriptor; it is close-on-exec and the caller's.
func receiveDescriptor(conn *net.UnixConn) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(make([]byte, 1), oob)
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return -1, fmt.Errorf("receive descriptor: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("receive descriptor: %w", errors.Join(err, wire.ErrFrame))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("receive descriptor: %w", errors.Join(err, wire.ErrFrame))
	}
	return fds[0], nil // net.UnixConn asks for MSG_CMSG_CLOEXEC
}
