//go:build linux

package intercept

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// ErrClosed is what Serve returns after Close.
var ErrClosed = errors.New("supervisor closed")

const (
	// sweepEvery is how often entries that nothing needs any more are looked for.
	sweepEvery = 10 * time.Second
	// keepNames is for how long a connection's names outlive it: its close is not notified, and programs ask late.
	keepNames = 30 * time.Second
)

// Supervisor answers for one debuggee, over all the filters that Serve is called for. What it knows hangs on sockets
// (by SO_COOKIE, which is never used twice and survives dup, fork and descriptor passing), not on notifications: a call
// that a signal or a debugger interrupts is simply notified again.
//
// Goroutines: the waiter (one epoll set for every call that blocks) and the sweeper, from New to Close; one for each
// dial and then its joint, each stand-in for a resolver and each question to it, each accepted connection on its way
// into the debuggee. Close ends and waits for them all. Serve's caller is the receiver of its filter.
type Supervisor struct {
	opts  Options
	log   *zap.Logger
	doors *doors
	waits *waits
	dns   *questions

	closing chan struct{}

	known  atomic.Int32 // how many sockets are in the maps: 0 makes most calls free of a look
	failed atomic.Int32 // how many of them have an error that the debuggee was not told
	asking atomic.Int32 // how many of them are askers

	mu        sync.Mutex
	closed    bool
	ends      []context.CancelCauseFunc // of what the receivers started
	work      sync.WaitGroup            // adding to it needs mu and !closed
	outgoing  map[uint64]*outgoing
	askers    map[uint64]*asker
	askersAt  map[uint16]int              // how many connected askers have a local port
	standIns  map[netip.AddrPort]*standIn // by the resolver
	listeners map[uint64]*listener
	incoming  map[netip.AddrPort]*incoming // by the address that Deliver connects from
}

// New makes a supervisor, which Close ends.
func New(opts Options) (*Supervisor, error) {
	if opts.Link == nil {
		return nil, errors.New("intercept: a link is needed")
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	doors, err := openDoors()
	if err != nil {
		return nil, err
	}
	waits, err := newWaits()
	if err != nil {
		doors.close()
		return nil, err
	}
	s := &Supervisor{
		opts: opts, log: opts.Log, doors: doors, waits: waits,
		outgoing: map[uint64]*outgoing{}, askers: map[uint64]*asker{}, askersAt: map[uint16]int{},
		standIns: map[netip.AddrPort]*standIn{}, listeners: map[uint64]*listener{},
		incoming: map[netip.AddrPort]*incoming{}, closing: make(chan struct{}), dns: newQuestions(opts.Link),
	}
	s.start(func() { waits.run(s.start) })
	s.start(func() { s.sweepUntil(s.closing) })
	return s, nil
}

// start runs f in a goroutine that Close waits for. After Close it does nothing and returns false.
func (s *Supervisor) start(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Go(f)
	return true
}

// Close ends every Serve, dial and joint and waits for them. Tasks that are left get ENOSYS from then on: end them first.
func (s *Supervisor) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.work.Wait()
		return nil
	}
	s.closed = true
	ends, standIns := s.ends, slices.Collect(maps.Values(s.standIns))
	s.mu.Unlock()
	close(s.closing)
	for _, end := range ends {
		end(ErrClosed)
	}
	for _, t := range standIns {
		t.close()
	}
	s.waits.stop()
	s.work.Wait()
	s.waits.close()
	s.dns.close()
	s.doors.close()
	for _, l := range s.listeners {
		l.dropStash()
	}
	return nil
}

// Serve answers the notifications of one filter until no task is left below it (nil), ctx ends (its cause) or Close is
// called (ErrClosed). It owns listener. Connections of the debuggee outlive it, for the data that is under way.
func (s *Supervisor) Serve(ctx context.Context, listener *os.File, scope Scope) error {
	done := make(chan error, 1)
	if !s.start(func() { done <- s.serve(ctx, listener, scope) }) {
		_ = listener.Close()
		return ErrClosed
	}
	return <-done
}

func (s *Supervisor) serve(ctx context.Context, listener *os.File, scope Scope) error {
	w := &watch{s: s, fd: int(listener.Fd()), processes: newProcesses(scope)}
	defer w.close(listener)
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("make eventfd: %w", err)
	}
	defer func() { _ = unix.Close(wake) }()
	life, end := context.WithCancelCause(context.WithoutCancel(ctx)) // dials and joints outlive the receiver
	s.mu.Lock()
	s.ends = append(s.ends, end)
	s.mu.Unlock()
	received := make(chan struct{})
	var ringer sync.WaitGroup
	ringer.Go(func() {
		select {
		case <-ctx.Done():
		case <-s.closing:
		case <-received:
		}
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer ringer.Wait()
	defer close(received)

	err = w.receive(life, wake)
	switch {
	case s.isClosing():
		return ErrClosed
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

func (s *Supervisor) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// noteKnown keeps the count that the hot paths look at. It needs mu.
func (s *Supervisor) noteKnown() {
	s.asking.Store(int32(len(s.askers)))
	s.known.Store(int32(len(s.outgoing) + len(s.askers) + len(s.listeners) + len(s.incoming)))
}
