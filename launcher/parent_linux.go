package launcher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// parent is a launcher's parent half: supervisor and keeper of a tree that somebody else than the adapter started, such
// as a terminal. Its child is the same launcher again, which becomes the debuggee.
//
// Goroutines: one admits the child, one serves the adapter's streams; both end with ctx. kept.reap is the third.
type parent struct {
	kept    *kept
	session *mux.Session
	near    *near
	child   *net.UnixConn
}

// superviseBelow goes on with the dialogue at conn, which it owns, and ends this process as its child ends. It returns
// only when there was nothing to end.
func superviseBelow(ctx context.Context, conn *net.UnixConn, a answer, argv []string, opts ExecOptions) error {
	m, err := parseMark(a.Far)
	if err != nil {
		return err
	}
	_ = m.wear() // see Keep
	signals := forwarded()
	p := &parent{}
	if err := p.start(argv, opts); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var group errgroup.Group
	err = p.connect(ctx, conn, a.Plan)
	if err == nil {
		group.Go(func() error { return p.admit(ctx) })
		group.Go(func() error { return p.session.Serve(func(st *mux.Stream) { p.deliver(ctx, st) }) })
		err = p.run(signals)
	}
	err = errors.Join(err, p.end(context.WithoutCancel(ctx)))
	cancel()
	if p.session != nil {
		_ = p.session.Close()
		_ = group.Wait()
		_ = p.near.Close()
	}
	if err != nil {
		return err
	}
	select {
	case status := <-p.kept.exited:
		status.Exit()
	default:
	}
	return errSessionOver
}

var errSessionOver = errors.New("the podstep session is over")

// start starts the child, which waits for its answer.
func (p *parent) start(argv []string, opts ExecOptions) error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer unix.Close(theirs)
	command := []string{"/proc/self/exe", "exec", "--handover", strconv.Itoa(theirs)}
	if opts.Traced {
		command = append(command, "--traced")
	}
	if opts.NoEnv {
		command = append(command, "--no-env")
	}
	if p.kept, err = keep(append(append(command, "--"), argv...), os.Environ(), unix.Getpgrp()); err != nil {
		return errors.Join(err, ours.Close())
	}
	p.child = ours
	return nil
}

// socketPair makes the connection to the child. theirs is inherited by it.
func socketPair() (ours *net.UnixConn, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("connect to child: %w", err)
	}
	f := os.NewFile(uintptr(pair[0]), "child")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(pair[1]), unix.F_SETFD, 0)
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("connect to child: %w", err), unix.Close(pair[1]))
	}
	return conn.(*net.UnixConn), pair[1], nil
}

// connect makes conn the link over which the supervisor reaches the target.
func (p *parent) connect(ctx context.Context, conn *net.UnixConn, plan Plan) error {
	log := zap.NewNop() // the terminal is the debuggee's
	if err := writeMessage(conn, started{Pid: p.kept.pid}); err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	session, err := mux.Start(ctx, conn, mux.AgentSide, muxOptions(log))
	if err != nil {
		return fmt.Errorf("connect to podstep: %w", err)
	}
	link := adapterLink{session}
	if p.near, err = newNear(log, Options{Plan: plan, Link: link, Listening: link.listening}); err != nil {
		return errors.Join(err, session.Close())
	}
	p.session = session
	return nil
}

// admit seats the child.
func (p *parent) admit(ctx context.Context) error {
	// SO_PEERCRED of a socket pair names its maker, which is this process.
	child := peer{pid: p.kept.pid, uid: uint32(os.Geteuid()), pidfd: p.kept.pidfd}
	g, err := greet(ctx, p.child, child)
	if err != nil {
		return errors.Join(err, p.child.Close())
	}
	return p.near.admit(ctx, p.child, child, g)
}

func (p *parent) deliver(ctx context.Context, st *mux.Stream) {
	h := st.Header
	if h.Kind != wire.KindIncoming {
		_ = st.Refuse(&wire.Refusal{Errno: errNotSupported, Text: "unknown stream " + string(h.Kind)})
		return
	}
	conn, err := p.near.Deliver(ctx, h.Port, h.From, h.To)
	join(ctx, zap.NewNop(), st, conn, netip.AddrPort{}, err)
}

// run returns when the child has exited or the adapter is gone.
func (p *parent) run(signals <-chan os.Signal) error {
	control := make(chan os.Signal, 4)
	notifyJobControl(control)
	p.kept.takeTerminal() // an fg came before that
	for {
		select {
		case sig := <-signals:
			p.kept.signal(sig.(syscall.Signal))
		case sig := <-p.kept.stopped:
			if !p.kept.resumed(sig) {
				p.kept.giveBack()
				suspendGroup()
				p.kept.resume()
			}
		case sig := <-control:
			if sig == unix.SIGCONT {
				p.kept.resume()
			} else {
				p.kept.signal(unix.SIGTSTP)
			}
		case status := <-p.kept.exited:
			p.kept.exited <- status // for the end
			return nil
		case <-p.session.Done():
			return errSessionOver
		}
	}
}

// end leaves nothing of the tree: what the child left behind would run on with half a network.
func (p *parent) end(ctx context.Context) error {
	err := p.kept.end(ctx)
	p.kept.giveBack()
	return err
}

// adapterLink reaches the target through the adapter.
type adapterLink struct{ session *mux.Session }

// Dial implements intercept.Link.
func (l adapterLink) Dial(ctx context.Context, to netip.AddrPort) (splice.Conn, netip.AddrPort, error) {
	st, err := l.session.Open(ctx, wire.Header{Kind: wire.KindDial, Address: to}, nil)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	return st, st.Answer.Local, nil
}

// DNS implements intercept.Link.
func (l adapterLink) DNS(ctx context.Context) (splice.Conn, error) {
	st, err := l.session.Open(ctx, wire.Header{Kind: wire.KindDNS}, nil)
	if err != nil {
		return nil, err
	}
	return st, nil
}

// listening returns when the adapter knows of the port, or ctx ends.
func (l adapterLink) listening(ctx context.Context, port uint16) {
	if st, err := l.session.Open(ctx, wire.Header{Kind: wire.KindListening, Port: port}, nil); err == nil {
		_ = st.Close()
	}
}
