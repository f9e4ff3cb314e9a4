//go:build linux

package door

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/wire"
)

// knockEvery is how often it is tried whether the door is there.
const knockEvery = 20 * time.Millisecond

// ErrNoDoor says that there can be none, because this user may not make a socket at the path.
var ErrNoDoor = errors.New("no door: this user cannot have one")

// Join hands the link of the descriptors in and out to whoever is behind the door at path, and returns when the link is over;
// the error has the other side's words. in and out are replaced by /dev/null: nothing of the link is left here.
func Join(ctx context.Context, path string, in, out int) error {
	conn, err := knock(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := send(conn, askJoin, in, out); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if err := letGo(in, out); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	// Half-closed or closed, the other side takes it for the end of the link.
	words, err := io.ReadAll(io.LimitReader(conn, wire.MaxFrame))
	if err == nil && len(words) > 0 {
		err = errors.New(string(words))
	}
	return err
}

// Sessions asks for the list of sessions.
func Sessions(ctx context.Context, path string) ([]wire.Session, error) {
	conn, err := knock(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := send(conn, askSessions); err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	var list []wire.Session
	if err := json.NewDecoder(conn).Decode(&list); err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return list, nil
}

// knock connects, and waits for the door until ctx ends.
func knock(ctx context.Context, path string) (*net.UnixConn, error) {
	tick := time.NewTicker(knockEvery)
	defer tick.Stop()
	for {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		switch {
		case err == nil:
			return conn, nil
		case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ECONNREFUSED):
			return nil, fmt.Errorf("join: %w", err)
		case unix.Access(filepath.Dir(path), unix.W_OK) != nil:
			return nil, ErrNoDoor
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("join: no resident agent is here: %w", err)
		case <-tick.C:
		}
	}
}

// letGo puts /dev/null in place of descriptors.
func letGo(fds ...int) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	for _, fd := range fds {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return err
		}
	}
	return nil
}
