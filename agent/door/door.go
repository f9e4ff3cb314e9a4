//go:build linux

// Package door is where sessions come into a resident agent: a unix socket that only processes of its own container
// reach. Whoever comes in hands over the descriptors of its link, so that no byte of a session is copied on the way, and
// stays as long as the session; whoever is killed takes the session along. It knows nothing of what a link carries.
package door

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"podstep.dev/internal/wire"
)

// Path of the socket: a container's /dev is its own, unlike /dev/shm and abstract sockets, which the whole pod shares,
// and it can be written to when the root file system cannot.
const Path = "/dev/podstep.sock"

// What whoever comes in asks for, in the first message.
const (
	askJoin     byte = 'j' // with the descriptors to read from and to write to
	askSessions byte = 's'
)

const (
	// greetTimeout is how long the first message may take.
	greetTimeout = 5 * time.Second
	// lastWords is how long the last words to whoever joined may take.
	lastWords = time.Second
	// maxGuests is how many may be inside at once; more wait in the socket's queue.
	maxGuests = 128
)

// House is what is behind the door.
type House interface {
	// Serve serves one session over conn, which it owns, until it is over.
	Serve(ctx context.Context, conn io.ReadWriteCloser) error
	// Sessions lists those that are under way.
	Sessions() wire.Sessions
}

// Door is an open socket. Serve has its goroutines: one for each guest, which it waits for.
type Door struct {
	log      *zap.Logger
	listener *net.UnixListener
	mount    string // the mount namespace that guests must be in
}

// Open listens at path. EADDRINUSE: somebody does already; EACCES or EROFS: this user cannot.
func Open(path string, log *zap.Logger) (*Door, error) {
	mount, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, fmt.Errorf("open door: %w", err)
	}
	if err := clear(path); err != nil {
		return nil, fmt.Errorf("open door: %w", err)
	}
	// The umask is the process's; nobody else makes files in it.
	old := unix.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("open door: %w", err)
	}
	return &Door{log: log, listener: l, mount: mount}, nil
}

// clear removes the socket of a process that was killed.
func clear(path string) error {
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return &os.PathError{Op: "listen", Path: path, Err: unix.EADDRINUSE}
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	}
	return nil
}

// Serve lets guests in until ctx ends, then waits for all of them; their sessions are for ctx to end.
func (d *Door) Serve(ctx context.Context, house House) {
	var guests sync.WaitGroup
	defer guests.Wait()
	defer func() { _ = d.listener.Close() }()
	hangUp := context.AfterFunc(ctx, func() { _ = d.listener.Close() })
	defer hangUp()
	slots := make(chan struct{}, maxGuests)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := d.listener.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				d.log.Error("no more sessions can join", zap.Error(err))
				<-ctx.Done()
			}
			return
		}
		guests.Go(func() {
			defer func() { <-slots }()
			d.serve(ctx, conn, house)
		})
	}
}

// serve does what one guest asks for.
func (d *Door) serve(ctx context.Context, conn *net.UnixConn, house House) {
	defer func() { _ = conn.Close() }()
	if err := d.admit(conn); err != nil {
		d.log.Warn("guest refused", zap.Error(err))
		return
	}
	hurry := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	what, link, err := receive(conn)
	hurry()
	if err != nil {
		d.log.Warn("guest refused", zap.Error(err))
		return
	}
	switch what {
	case askJoin:
		if err := d.join(ctx, conn, link, house); err != nil {
			d.log.Info("link ended", zap.Error(err))
			_ = conn.SetWriteDeadline(time.Now().Add(lastWords))
			_, _ = io.WriteString(conn, err.Error())
		}
	case askSessions:
		_ = conn.SetWriteDeadline(time.Now().Add(greetTimeout))
		_ = json.NewEncoder(conn).Encode(house.Sessions().Sessions)
	}
}

// join serves a guest's link, which ends with the guest.
func (d *Door) join(ctx context.Context, conn *net.UnixConn, link *Link, house House) error {
	var watch sync.WaitGroup
	watch.Go(func() {
		_, _ = conn.Read(make([]byte, 1))
		_ = link.Close()
	})
	err := house.Serve(ctx, link)
	_ = conn.CloseRead()
	watch.Wait()
	return err
}

// admit refuses whoever is not of this container: another user, or a process that came here through /proc.
func (d *Door) admit(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { peer, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if credErr != nil {
		return fmt.Errorf("guest's credentials: %w", credErr)
	}
	if int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("guest is user %d: %w", peer.Uid, unix.EPERM)
	}
	mount, err := os.Readlink("/proc/" + strconv.Itoa(int(peer.Pid)) + "/ns/mnt")
	if err != nil {
		return fmt.Errorf("guest's mount namespace: %w", err)
	}
	if mount != d.mount {
		return fmt.Errorf("guest is of another container: %w", unix.EPERM)
	}
	return nil
}
