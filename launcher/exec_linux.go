package launcher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/launcher/intercept/seccomp"
)

// ExecOptions of Exec. Session or Handover is required.
type ExecOptions struct {
	// Session is the path of the session's socket.
	Session string
	// Handover is the descriptor of the socket to a parent half, which is the parent of this process. If 0, Session is used.
	Handover int
	// Traced and NoEnv are those of How.
	Traced, NoEnv bool
}

// Exec is `podstep-launch exec`: it puts this process under interception and becomes argv by one exec. When no ancestor
// of this process is an adapter's, it stays as the parent half of a child that does; then it ends as the child ended.
// It returns only when it failed. The caller is locked to its thread.
func Exec(ctx context.Context, argv []string, opts ExecOptions) error {
	conn, err := dialSeat(opts)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(handoverPatience)); err != nil {
		return fmt.Errorf("greet podstep: %w", err)
	}
	if err := writeMessage(conn, greeting{Version: handoverVersion, Traced: opts.Traced}); err != nil {
		return fmt.Errorf("greet podstep: %w", err)
	}
	var a answer
	if err := readMessage(conn, &a); err != nil {
		return fmt.Errorf("greet podstep: %w", err)
	}
	if a.Refused != "" {
		return fmt.Errorf("podstep refused: %s", a.Refused)
	}
	if a.Far != "" {
		return superviseBelow(ctx, conn, a, argv, opts)
	}
	return become(conn, a.Plan, argv, opts)
}

// dialSeat connects to whoever answers the notifications, and makes sure that it is of the same user: it can read and
// write all that the debuggee can.
func dialSeat(opts ExecOptions) (*net.UnixConn, error) {
	if opts.Handover != 0 {
		unix.CloseOnExec(opts.Handover)
		f := os.NewFile(uintptr(opts.Handover), "handover")
		defer f.Close()
		conn, err := net.FileConn(f)
		if err != nil {
			return nil, fmt.Errorf("reach the parent half: %w", err)
		}
		return conn.(*net.UnixConn), nil
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: opts.Session, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("reach podstep (has the session ended?): %w", err)
	}
	host, err := peerOf(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	defer host.close()
	if int(host.uid) != os.Geteuid() {
		return nil, errors.Join(fmt.Errorf("reach podstep: the session at %s is of uid %d", opts.Session, host.uid), conn.Close())
	}
	return conn, nil
}

// become hands the filter's listener over and execs. The listener goes over by another thread: this one's calls are
// notified from the moment of installation, and nobody answers yet.
func become(conn *net.UnixConn, plan Plan, argv []string, opts ExecOptions) error {
	if !opts.NoEnv {
		for name, value := range plan.Env {
			if err := os.Setenv(name, value); err != nil {
				return fmt.Errorf("set environment variable %q: %w", name, err)
			}
		}
	}
	path, err := lookPath(argv[0])
	if err != nil {
		return err
	}
	filter, err := seccomp.Filter(seccomp.Options{Exec: opts.Traced})
	if err != nil {
		return err
	}
	listener, err := seccomp.Install(filter)
	if err != nil {
		if errors.Is(err, syscall.EBUSY) {
			err = fmt.Errorf("another supervisor above this process holds the seccomp listener: %w", err)
		}
		return err
	}
	done := make(chan error)
	go func() { done <- handOver(conn, listener) }()
	if err := <-done; err != nil {
		return fmt.Errorf("hand over to podstep: %w", err)
	}
	// Every descriptor of ours is close-on-exec.
	return &os.PathError{Op: "exec", Path: path, Err: syscall.Exec(path, argv, os.Environ())}
}

func handOver(conn *net.UnixConn, listener int) error {
	if err := sendDescriptor(conn, listener); err != nil {
		return err
	}
	var v verdict
	if err := readMessage(conn, &v); err != nil {
		return err
	}
	if v.Refused != "" {
		return errors.New(v.Refused)
	}
	return nil
}
