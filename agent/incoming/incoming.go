//go:build linux

// Package incoming serves subscriptions: the connections that are made to a port of the target go to the adapter instead
// (steal) or as a copy (mirror). A stolen connection that the adapter does not take is passed through to the target,
// which sees the true client address.
//
// HTTP probes of a port that the subscription names are the target's: a steal passes them through without offering them
// and a mirror leaves them out, so that a debugger at a breakpoint neither costs the pod its life nor is stopped by a
// kubelet. A steal may ask for them nevertheless, as long as its debugger is not stopped. Probes of other kinds (TCP, gRPC, HTTPS whose TLS is
// not taken off) are not known as probes, and those with a User-Agent of their own only where the subscription has a filter for them.
//
// Where a subscription has the certificates, TLS is taken off, so that what it carries is served like what is plain, and made anew towards
// the target, which chooses the protocol. What cannot be taken off without anybody's noticing stays as it is.
//
// Nothing is installed before the first subscription. Unsubscribe frees the port at once; connections that were taken or
// passed through go on. It knows no link: streams are opened by a function.
package incoming

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// Begin begins a stream towards the adapter, which has the header and the first bytes at once.
type Begin func(ctx context.Context, h wire.Header, first []byte) (Stream, error)

// Stream is written to at once and read after Await, whose error closes it. After a refusal, which is a *wire.Refusal, and after a
// wire.ErrDropped, nothing was delivered; after any other error it may have been.
type Stream interface {
	splice.Conn
	Await(ctx context.Context) error
}

// Options of New. The zero value works.
type Options struct {
	// Log receives the subscriptions' lines. If nil, nothing is logged.
	Log *zap.Logger
	// Holder is shown to others who want a stolen port. If it has no time, that of each subscription is taken.
	Holder wire.Holder
	// Ended is told of each subscription that ended by itself. It must not block. If nil, nobody is told.
	Ended func(wire.EndedParams)
	// Lost is told what mirrors could not deliver. It must not block. If nil, nobody is told.
	Lost func(wire.LostParams)
	// Closed is told that no further request comes of a connection, by its number. It must not block. If nil, nobody is told.
	Closed func(connection uint64)
	// Unread is told of connections that filters could not look into, about once a second. It must not block. If nil, nobody is told.
	Unread func(wire.UnreadParams)
	// Memory is shared with other sessions. If nil, it is 16 MiB for this session alone, with 256 connections.
	Memory *Memory
	// Ports are shared with other sessions. If nil, this session has its own, which end with it.
	Ports *Ports
	// Files are the target's, for the certificates of TLS. If nil, there are none.
	Files fs.FS
	// OpenTimeout is how long the adapter may take to say whether it takes a connection. If zero, 5 s.
	OpenTimeout time.Duration
}

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Ended == nil {
		o.Ended = func(wire.EndedParams) {}
	}
	if o.Lost == nil {
		o.Lost = func(wire.LostParams) {}
	}
	if o.Closed == nil {
		o.Closed = func(uint64) {}
	}
	if o.Unread == nil {
		o.Unread = func(wire.UnreadParams) {}
	}
	if o.Memory == nil {
		o.Memory = NewMemory(16<<20, 256, nil)
	}
	if o.OpenTimeout == 0 {
		o.OpenTimeout = 5 * time.Second
	}
	return o
}

// Subscriptions of one session. Its goroutines are those of package capture, and of Ports; Close waits for all that have to do
// with the session.
type Subscriptions struct {
	opts  Options
	begin Begin
	// owns says that the ports are this session's alone.
	owns bool
	// taken ends what the adapter took: connections, requests, copies.
	taken    context.Context //nolint:containedctx // the lifetime that all that is taken shares
	cutTaken context.CancelCauseFunc
	silence  silence
	unread   *unread
	// paused is since when the adapter's debugger is stopped, nil when it is not.
	paused atomic.Pointer[time.Time]
	// patience is how long the adapter may take beside what it takes anyway, in nanoseconds; a subscription may know of longer.
	patience atomic.Int64
	// seats and requests number connections and requests in the link.
	seats, requests atomic.Uint64
	visits          sync.WaitGroup

	mu            sync.Mutex
	closed        bool
	crowded       bool
	last          uint64
	subscriptions map[uint64]subscription
	mirrors       mirrors
}

// subscription is a steal or a mirror.
type subscription interface {
	// release stops new traffic at once.
	release() error
	// suspend stops (true) or resumes new traffic; the port stays held.
	suspend(bool) error
}

// ErrEnded is the cause of connections that were reset because the session ended.
var ErrEnded = errors.New("session ended")

// New makes a session's subscriptions; none yet.
func New(ctx context.Context, begin Begin, opts Options) *Subscriptions {
	s := &Subscriptions{opts: opts.filled(), begin: begin, subscriptions: map[uint64]subscription{}}
	if s.opts.Ports == nil {
		s.owns, s.opts.Ports = true, NewPorts(s.opts.Log, s.opts.Memory)
	}
	s.unread = newUnread(s.opts.Unread)
	// The ends of connections are of our own choosing: those that were passed through outlive the link.
	ctx = context.WithoutCancel(ctx)
	s.opts.Ports.begin(ctx)
	s.taken, s.cutTaken = context.WithCancelCause(ctx)
	s.opts.Memory.join(s)
	s.crowded = s.opts.Memory.isCrowded()
	return s
}

// SetPaused notes since when the debugger is stopped, zero when it is not: an adapter whose policy is to let requests pass
// then need not be asked.
func (s *Subscriptions) SetPaused(since time.Time) {
	if since.IsZero() {
		s.paused.Store(nil)
		return
	}
	s.paused.Store(&since)
}

// SetPatience says how long the adapter may take, from now on, to say whether it takes a request.
func (s *Subscriptions) SetPatience(d time.Duration) { s.patience.Store(int64(d)) }

// pause says in words whether the debugger is stopped.
func (s *Subscriptions) pause() string {
	if since := s.paused.Load(); since != nil {
		return "its debugger is paused since " + since.UTC().Format("15:04") + " UTC"
	}
	return "its debugger is not paused"
}

// visit counts something in that the adapter is asked to take, unless the session is over; visits.Done counts it out.
func (s *Subscriptions) visit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.visits.Add(1)
	return true
}

// Subscribe begins a subscription. A refusal is a *wire.Refusal.
func (s *Subscriptions) Subscribe(_ context.Context, p wire.SubscribeParams) (wire.Subscription, error) {
	if p.Port == 0 {
		return wire.Subscription{}, &wire.Refusal{Errno: syscall.EINVAL, Text: "subscribe: no port"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return wire.Subscription{}, &wire.Refusal{Errno: syscall.ESHUTDOWN, Text: "subscribe: the session is ending"}
	}
	id := s.last + 1
	sub, err := s.start(id, p)
	if err != nil {
		return wire.Subscription{}, err
	}
	s.last = id
	s.subscriptions[id] = sub
	if s.crowded {
		if err := sub.suspend(true); err != nil {
			s.opts.Log.Warn("suspend", zap.Uint64("subscription", id), zap.Error(err))
		}
	}
	s.opts.Log.Info("subscribed", zap.Uint16("port", p.Port), zap.String("mode", string(p.Mode)), zap.Uint64("subscription", id))
	return wire.Subscription{ID: id}, nil
}

func (s *Subscriptions) start(id uint64, p wire.SubscribeParams) (subscription, error) {
	switch p.Mode {
	case wire.ModeSteal:
		return s.startSteal(id, p)
	case wire.ModeMirror:
		return s.startMirror(id, p)
	default:
		return nil, &wire.Refusal{Errno: syscall.ENOTSUP, Reason: wire.ReasonUnsupported, Text: fmt.Sprintf("subscribe: mode %q is not known", p.Mode)}
	}
}

// Unsubscribe ends a subscription: the target serves its port from here on.
func (s *Subscriptions) Unsubscribe(_ context.Context, p wire.UnsubscribeParams) error {
	sub, done, ok := s.take(p.ID)
	if !ok {
		return &wire.Refusal{Errno: syscall.ENOENT, Text: fmt.Sprintf("unsubscribe: no subscription %d", p.ID)}
	}
	defer done()
	s.opts.Log.Info("unsubscribed", zap.Uint64("subscription", p.ID))
	return sub.release()
}

// take removes a subscription, to be released. Close waits until done is called.
func (s *Subscriptions) take(id uint64) (sub subscription, done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, ok = s.subscriptions[id]
	if !ok {
		return nil, nil, false
	}
	delete(s.subscriptions, id)
	s.visits.Add(1)
	return sub, s.visits.Done, true
}

// end ends a subscription that cannot go on, and tells why.
func (s *Subscriptions) end(id uint64, refusal wire.Refusal) {
	sub, done, ok := s.take(id)
	if !ok {
		return
	}
	defer done()
	if err := sub.release(); err != nil {
		s.opts.Log.Warn("release", zap.Uint64("subscription", id), zap.Error(err))
	}
	s.opts.Ended(wire.EndedParams{ID: id, Refusal: refusal})
}

// End ends every subscription, telling why, and resets the connections that the adapter took. What was passed through
// goes on.
func (s *Subscriptions) End(refusal wire.Refusal) {
	s.mu.Lock()
	ids := make([]uint64, 0, len(s.subscriptions))
	for id := range s.subscriptions {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	for _, id := range ids {
		s.end(id, refusal)
	}
	s.cutTaken(&refusal)
}

// Close ends everything: all claims at once, then what the adapter took, by a reset. Connections that were passed through
// may finish: until ctx ends when the ports are this session's alone. It returns when nothing is left.
func (s *Subscriptions) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	subs := s.subscriptions
	s.subscriptions = map[uint64]subscription{}
	s.mu.Unlock()
	var err error
	for _, sub := range subs {
		err = errors.Join(err, sub.release())
	}
	s.cutTaken(ErrEnded)
	s.visits.Wait()
	if s.owns {
		err = errors.Join(err, s.opts.Ports.Close(ctx))
	}
	s.unread.close()
	s.opts.Memory.part(s)
	return err
}

// crowd suspends the steals or resumes them, as there is room for connections.
func (s *Subscriptions) crowd() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opts.Memory.isCrowded()
	if s.crowded == now {
		return
	}
	s.crowded = now
	if now && len(s.subscriptions) > 0 {
		s.opts.Log.Warn("as many connections as may be; further ones go to the target", zap.Int("connections", s.opts.Memory.connections))
	}
	for id, sub := range s.subscriptions {
		if st, steals := sub.(*steal); now && steals && st.filter != nil {
			// What comes from here on is not seen.
			s.unread.add(id, wire.UnreadCrowded)
		}
		if err := sub.suspend(now); err != nil {
			s.opts.Log.Warn("suspend", zap.Uint64("subscription", id), zap.Error(err))
		}
	}
}
