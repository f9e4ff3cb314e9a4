package launcher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/program"
	"podstep.dev/internal/splice"
	"podstep.dev/launcher/intercept/seccomp"
)

// socketName is the launchers' socket in the session directory.
const socketName = "launch.sock"

// ErrHostClosed is the cause of everything that ends because of Close.
var ErrHostClosed = errors.New("session over")

// Host serves the launchers of one session: it gives each of them a seat for its supervisor.
//
// Its goroutines: one accepts, one admits each launcher and lives as long as its tree. Close ends and awaits all.
type Host struct {
	log      *zap.Logger
	opts     Options
	dir      string
	launcher string
	socket   *net.UnixListener
	near     *near
	cancel   context.CancelCauseFunc
	group    errgroup.Group
	// below says whether a launcher is this process's descendant; tests stand in for it.
	below func(peer) bool

	mu   sync.Mutex
	fars []*far
}

// Listen opens the session's socket in dir, which is a directory of this user alone, and serves launchers until ctx
// ends or Close is called. It fails with fault.KernelLacks where nothing can be intercepted.
func Listen(ctx context.Context, dir string, opts Options) (*Host, error) {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	log := opts.Log.Named("launcher")
	path, err := program.Find(program.Launcher)
	if err != nil {
		return nil, fault.New(fault.LauncherMissing, "podstep-launch was not found", err)
	}
	if err := seccomp.Probe(); err != nil {
		return nil, fault.New(fault.KernelLacks, "this kernel or sandbox cannot intercept a program", err)
	}
	if err := checkSessionDir(dir); err != nil {
		return nil, fmt.Errorf("serve launchers: %w", err)
	}
	// What a debuggee orphans stays below this process, which may look into it then.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("serve launchers: become subreaper: %w", err)
	}
	seat, err := newNear(log, opts)
	if err != nil {
		return nil, fmt.Errorf("serve launchers: %w", err)
	}
	socket, err := listenPrivately(filepath.Join(dir, socketName))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serve launchers: %w", err), seat.Close())
	}
	h := &Host{log: log, opts: opts, dir: dir, launcher: path, socket: socket, near: seat}
	self := os.Getpid()
	h.below = func(p peer) bool { return p.below(self) }
	ctx, h.cancel = context.WithCancelCause(ctx)
	context.AfterFunc(ctx, func() { _ = socket.Close() })
	h.group.Go(func() error { h.accept(ctx); return nil })
	return h, nil
}

// listenPrivately listens on path for this user alone.
func listenPrivately(path string) (*net.UnixListener, error) {
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return socket, nil
}

// Command is argv with what makes it run intercepted. It may be run by anyone of this user, anywhere.
func (h *Host) Command(argv []string, how How) []string {
	command := []string{h.launcher, "exec", "--session", filepath.Join(h.dir, socketName)}
	if how.Traced {
		command = append(command, "--traced")
	}
	if how.NoEnv {
		command = append(command, "--no-env")
	}
	return slices.Concat(command, []string{"--"}, argv)
}

// Deliver connects to the listener for port of whichever debuggee has one. The debuggee sees from as the peer and to as
// the destination. ECONNREFUSED: no debuggee listens. The caller closes the connection.
func (h *Host) Deliver(ctx context.Context, port uint16, from, to netip.AddrPort) (splice.Conn, error) {
	h.mu.Lock()
	seats := []seat{h.near}
	for _, f := range h.fars {
		seats = append(seats, f)
	}
	h.mu.Unlock()
	for _, s := range seats {
		conn, err := s.Deliver(ctx, port, from, to)
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
			return conn, err
		}
	}
	return nil, refused(port)
}

// Close ends every debuggee and waits for it.
func (h *Host) Close() error {
	h.cancel(ErrHostClosed)
	_ = h.group.Wait()
	return h.near.Close()
}

func (h *Host) accept(ctx context.Context) {
	for {
		conn, err := h.socket.AcceptUnix()
		if err != nil {
			if ctx.Err() == nil {
				h.log.Error("accept launcher", zap.Error(err))
			}
			return
		}
		h.group.Go(func() error {
			if err := h.serve(ctx, conn); err != nil && ctx.Err() == nil {
				h.log.Warn("launcher", zap.Error(err))
			}
			return nil
		})
	}
}

// serve owns conn.
func (h *Host) serve(ctx context.Context, conn *net.UnixConn) error {
	p, err := peerOf(conn)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer p.close()
	g, err := greet(ctx, conn, p)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	if h.below(p) {
		return h.near.admit(ctx, conn, p, g)
	}
	f := newFar(h.log, h.opts, newMark(h.dir))
	h.mu.Lock()
	h.fars = append(h.fars, f)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.fars = slices.DeleteFunc(h.fars, func(other *far) bool { return other == f })
	}()
	return f.admit(ctx, conn, p, g)
}

// greet hears what the peer wants. It refuses strangers, whatever the socket's mode.
func greet(ctx context.Context, conn *net.UnixConn, p peer) (greeting, error) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var g greeting
	err := conn.SetDeadline(time.Now().Add(handoverPatience))
	switch {
	case err != nil:
	case int(p.uid) != os.Geteuid():
		err = refuse(conn, fmt.Sprintf("this session belongs to uid %d, not %d", os.Geteuid(), p.uid))
	default:
		if err = readMessage(conn, &g); err == nil && g.Version != handoverVersion {
			err = refuse(conn, "podstep and podstep-launch are of different releases")
		}
	}
	if err != nil {
		return greeting{}, fmt.Errorf("greet launcher: %w", err)
	}
	return g, nil
}

// refuse answers no and returns why.
func refuse(conn *net.UnixConn, why string) error {
	return errors.Join(errors.New(why), writeMessage(conn, answer{Refused: why}))
}
