// Package door is the only way into a cluster: it hands each connection made to a listener on to the API server. What a network can do
// to a connection it can do on request: freeze it, cut it, or lose it.
//
// It knows nothing of what flows through.
package door

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// A Door passes connections on. Run starts two goroutines for each, which block on reading and on the door's state; they end with their
// connection, or when Run's context ends.
type Door struct {
	// Dial reaches what is behind the door.
	Dial func(ctx context.Context) (net.Conn, error)

	mu     sync.Mutex
	cut    bool
	frozen chan struct{} // closed when the frost is over; nil: there is none
	over   *time.Timer   // ends what is on; nil: nothing is
	relays map[*relay]struct{}
}

// Run passes on what l accepts until ctx ends, and closes l.
func (d *Door) Run(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var relays sync.WaitGroup
	defer relays.Wait()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept at the door: %w", err)
		}
		relays.Go(func() { d.serve(ctx, c) })
	}
}

// Freeze stops everything for a time, as a sleeping laptop does: nothing passes, nothing is closed, what is sent meanwhile comes late.
func (d *Door) Freeze(limit time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.restore()
	d.frozen = make(chan struct{})
	d.over = time.AfterFunc(limit, d.Restore)
}

// Cut resets all connections at both ends, and each new one for a time, as an expired firewall entry or a restarted proxy does.
func (d *Door) Cut(limit time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.restore()
	d.cut = true
	d.over = time.AfterFunc(limit, d.Restore)
	for r := range d.relays {
		r.reset()
	}
}

// Lose makes the connections of this moment silent for good without a word to either end, as a changed network address does. New ones pass.
func (d *Door) Lose() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for r := range d.relays {
		r.lose()
	}
}

// Restore ends Freeze and Cut before their time. What was lost stays lost.
func (d *Door) Restore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.restore()
}

func (d *Door) restore() {
	d.cut = false
	if d.frozen != nil {
		close(d.frozen)
		d.frozen = nil
	}
	if d.over != nil {
		d.over.Stop()
		d.over = nil
	}
}

// serve passes c on and closes it.
func (d *Door) serve(ctx context.Context, c net.Conn) {
	r := &relay{door: d, front: c, lost: make(chan struct{})}
	defer r.close()
	defer context.AfterFunc(ctx, r.close)()
	if !d.add(r) {
		r.reset()
		return
	}
	defer d.remove(r)
	if r.wait(ctx) != nil {
		return
	}
	back, err := d.Dial(ctx)
	if err != nil {
		return
	}
	if r.join(back) {
		r.run(ctx)
	}
}

// add takes note of r, unless the door is cut.
func (d *Door) add(r *relay) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return false
	}
	if d.relays == nil {
		d.relays = map[*relay]struct{}{}
	}
	d.relays[r] = struct{}{}
	return true
}

func (d *Door) remove(r *relay) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.relays, r)
}

// frost is closed when nothing is frozen any more; nil: nothing is.
func (d *Door) frost() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.frozen
}

// errOver says that a relay ended while it waited.
var errOver = errors.New("the relay is over")
