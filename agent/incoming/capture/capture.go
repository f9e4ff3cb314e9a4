// Package capture copies what clients send to ports of the target, without touching it: it reads from a packet socket,
// puts the bytes of each connection in order and hands them on. It sends nothing, installs no rule and opens no listener.
//
// Only the direction from client to target is read. A connection is copied when its SYN was seen, so connections that
// began earlier are left out, and when it carries at least one byte, so a probe that only connects costs nothing. What
// cannot be copied whole (a gap that no retransmission fills, memory, a reader that is too slow) is given up and
// counted: a copy never holds up the target, nor another copy.
//
// The socket sees a packet where the network namespace receives it, before netfilter: a port is the one on the wire,
// and a request is seen once also when a steal of the same port takes it, because passthrough carries [Mark].
package capture

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"podstep.dev/internal/splice"
)

// Mark is the packet mark of an agent's passthrough connections ("PS"). Packets that carry it are not seen.
const Mark = 0x5053

// Deliver opens a copy. It may block; until it returns, the copy's bytes are kept. What the returned connection answers is
// read and dropped. The capture closes it: CloseWrite after the client's FIN, or behind a whole copy that is read; a reset
// after the client's RST or when the copy is given up.
type Deliver func(ctx context.Context, o Origin) (splice.Conn, error)

// Origin says what a copy is of.
type Origin struct {
	// From is the connection's client, To the destination on the wire.
	From, To netip.AddrPort
	// Sieve is the connection's, nil when it has none, and Copy its name for the copy.
	Sieve Sieve
	Copy  uint32
}

// Port is a port to copy.
type Port struct {
	Number uint16
	// Loopback leaves out what does not arrive over the loopback interface.
	Loopback bool
}

// Verdict is what Options.Judge says of a connection.
type Verdict int

// Verdicts.
const (
	// Undecided : more of its beginning is needed.
	Undecided Verdict = iota
	// Copy : it is copied.
	Copy
	// LeaveOut : it is not.
	LeaveOut
)

// Options of Start. The zero value works.
type Options struct {
	// Log receives the capture's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Lost is told about once a second what could not be copied since the last call: packets that the kernel dropped, and
	// connections whose copy was given up. Calls do not overlap and must not
	// block. If nil, nobody is told.
	Lost func(packets, connections uint64)
	// Judge decides by the beginning of what the client of a connection to the port sends, as far as it is known, whether
	// it is copied; it must come to a verdict within a few KiB. If nil, all are.
	Judge func(port uint16, head []byte) Verdict
	// Sieve returns the sieve of a new connection to the port, which is then not judged, or nil: all of it is copied. If nil, no
	// connection has one.
	Sieve func(port uint16) Sieve
	// Older is told of each connection to the port that is left out because its beginning was not seen. It must not block. If
	// nil, nobody is told.
	Older func(port uint16)
	// Connections is how many connections are followed at once, and how many copies there are; further ones are given up. The copies of one
	// connection beside its own may be a quarter of that. If zero, 1024.
	Connections int
	// Ring is the size in bytes of the kernel's buffer, rounded up to whole blocks of 512 KiB. If zero, 16 MiB.
	// A capture has one, so watch all ports of a session with one capture.
	Ring int
	// Memory bounds the bytes that wait to be delivered or that sieves have not decided, of all copies together; over it the one
	// that keeps most is given up. If zero, 16 MiB. Bytes out of order have a bound of their own, a quarter of this.
	Memory int
}

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Lost == nil {
		o.Lost = func(uint64, uint64) {}
	}
	if o.Judge == nil {
		o.Judge = func(uint16, []byte) Verdict { return Copy }
	}
	if o.Sieve == nil {
		o.Sieve = func(uint16) Sieve { return nil }
	}
	if o.Older == nil {
		o.Older = func(uint16) {}
	}
	if o.Connections == 0 {
		o.Connections = 1024
	}
	if o.Ring == 0 {
		o.Ring = 16 << 20
	}
	if o.Memory == 0 {
		o.Memory = 16 << 20
	}
	return o
}

// Stats counts since the start.
type Stats struct {
	// Packets that the kernel dropped because the ring was full.
	Packets uint64
	// Connections whose copy was given up.
	Connections uint64
	// Older connections that were left out because they began before the capture. Approximate when there are very many.
	Older uint64
	// Copied is how many copies were begun.
	Copied uint64
}

// Capture copies connections until it is closed. Its goroutines: the reader, which Close ends, and for each copy a
// writer and a drain of its answers, which end with the copy and at the latest with Close, which waits for all.
type Capture struct {
	opts   Options
	ring   *ring
	cancel context.CancelFunc
	group  errgroup.Group
	ports  atomic.Pointer[[]Port]
	// copy begins the copy of a connection, or returns nil when there are too many.
	copy func(of *connection, id uint32) *replica

	packets, connections, older, copied atomic.Uint64
	// held is the memory of all replicas, and of what sieves have not decided.
	held atomic.Int64
	// sieves are the connections of which that is something. Only the reader uses them.
	sieves map[*connection]struct{}

	mu   sync.Mutex
	live map[*replica]struct{}
}

// sweepEvery is how often losses are told and old things ended.
const sweepEvery = time.Second

// share of all copies is what those of one connection beside its own may be: one of so many.
const share = 4

// Start copies the connections that clients make from here on to ports of the network namespace that the calling thread
// is in. deliver is called for each, concurrently. It ends with Close or with ctx. Without CAP_NET_RAW the error is EPERM.
func Start(ctx context.Context, ports []Port, deliver Deliver, opts Options) (*Capture, error) {
	opts = opts.filled()
	program, err := filter(ports)
	if err != nil {
		return nil, err
	}
	r, err := openRing(program, opts.Ring)
	if err != nil {
		return nil, fmt.Errorf("capture ports %v: %w", ports, err)
	}
	ports = slices.Clone(ports)
	ctx, cancel := context.WithCancel(ctx)
	c := &Capture{opts: opts, ring: r, cancel: cancel, live: map[*replica]struct{}{}, sieves: map[*connection]struct{}{}}
	c.ports.Store(&ports)
	c.copy = func(of *connection, id uint32) *replica { return c.replicate(ctx, of, id, deliver) }
	c.group.Go(func() error {
		defer cancel()
		return c.read(ctx, newTracker(c))
	})
	return c, nil
}

// Watch replaces the ports. Copies of a port that is no longer watched are reset within about a second.
func (c *Capture) Watch(ports []Port) error {
	program, err := filter(ports)
	if err != nil {
		return err
	}
	if err := c.ring.attach(program); err != nil {
		return fmt.Errorf("watch ports %v: %w", ports, err)
	}
	ports = slices.Clone(ports)
	c.ports.Store(&ports)
	return nil
}

// Stats says what was counted up to now.
func (c *Capture) Stats() Stats {
	return Stats{
		Packets: c.packets.Load(), Connections: c.connections.Load(),
		Older: c.older.Load(), Copied: c.copied.Load(),
	}
}

// Close ends the capture, resets its copies and waits for them. The error is what the packet socket failed with, if it did.
func (c *Capture) Close() error {
	c.cancel()
	return c.group.Wait()
}

// read feeds the tracker until ctx ends or the socket fails.
func (c *Capture) read(ctx context.Context, t *tracker) error {
	defer c.ring.free()
	defer t.end()
	hangUp := context.AfterFunc(ctx, c.ring.hangUp)
	defer hangUp()
	var told Stats
	sweep := time.Now().Add(sweepEvery)
	for {
		err := c.ring.next(sweep, t.packet)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.opts.Log.Error("capture ended", zap.Error(err))
			return fmt.Errorf("read packets: %w", err)
		}
		if now := time.Now(); !now.Before(sweep) {
			sweep = now.Add(sweepEvery)
			before := told
			told = c.report(told)
			t.sweep(now, told.Packets > before.Packets)
		}
	}
}

// report tells what was lost since told and returns the new standing.
func (c *Capture) report(told Stats) Stats {
	drops, err := c.ring.drops()
	if err != nil {
		c.opts.Log.Debug("packet statistics", zap.Error(err))
	}
	c.packets.Add(drops)
	now := c.Stats()
	if packets, connections := now.Packets-told.Packets, now.Connections-told.Connections; packets+connections > 0 {
		c.opts.Log.Warn("copies lost", zap.Uint64("packets", packets), zap.Uint64("connections", connections))
		c.opts.Lost(packets, connections)
	}
	return now
}

// replicate begins a copy, or returns nil when there are too many.
func (c *Capture) replicate(ctx context.Context, of *connection, id uint32, deliver Deliver) *replica {
	ctx, abort := context.WithCancel(ctx)
	r := newReplica(Origin{From: of.tuple.from, To: of.tuple.to, Sieve: of.sieve, Copy: id}, &c.held, abort)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.live) >= c.opts.Connections {
		abort()
		return nil
	}
	c.live[r] = struct{}{}
	c.copied.Add(1)
	of.users.Add(1)
	c.group.Go(func() error {
		defer of.release()
		defer c.remove(r)
		r.run(ctx, deliver, c.opts.Log)
		return nil
	})
	return r
}

func (c *Capture) remove(r *replica) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.live, r)
}

// crowd keeps the copies within their memory: the one that keeps most is given up.
func (c *Capture) crowd() {
	for c.held.Load() > int64(c.opts.Memory) {
		r, size := c.largest()
		undecided, weight := c.heaviest()
		switch {
		case weight > size:
			undecided.giveUp("no memory for what is undecided")
		case r == nil:
			return
		default:
			r.drop()
			c.lost(tuple{r.origin.From, r.origin.To}, "not read fast enough")
		}
	}
}

// largest returns the copy that keeps most and is not given up.
func (c *Capture) largest() (most *replica, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.live {
		if n := r.size(); n > size {
			most, size = r, n
		}
	}
	return most, size
}
