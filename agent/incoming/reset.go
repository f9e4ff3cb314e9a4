//go:build linux

package incoming

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"podstep.dev/agent/incoming/redirect"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

const (
	// idlePatience is how long connections are waited for that are in the midst of a request. A kubelet's probe, which has a connection
	// of its own, is over by then.
	idlePatience = 2 * time.Second
	// idleEvery is how often they are looked at, and quietFor how long one is idle before it is reset: an answer may come in pieces.
	idleEvery = 50 * time.Millisecond
	quietFor  = 20 * time.Millisecond
)

// ResetExisting resets the connections to a stolen port that were made before, and returns how many: those of clients with the target, idle ones at once, others
// when they are or after idlePatience; and those that the agent passes through for sessions that are over. It leaves alone what a
// session's requests are told apart on, and listeners. The error says why others stay.
func (s *Subscriptions) ResetExisting(ctx context.Context, p wire.SubscribeParams) (n int, err error) {
	n = s.opts.Ports.resetPassed(p.Port)
	sockets, err := redirect.OpenSockets()
	if err != nil {
		return n, err
	}
	defer sockets.Close()
	left, err := existing(sockets, p)
	if err != nil {
		return n, err
	}
	tick := time.NewTicker(idleEvery)
	defer tick.Stop()
	for deadline := time.Now().Add(idlePatience); len(left) > 0; {
		late := !time.Now().Before(deadline)
		now, err := existing(sockets, p)
		if err != nil {
			return n, err
		}
		for inode := range left {
			socket, there := now[inode]
			switch {
			case !there: // it has ended by itself
				delete(left, inode)
			case late || socket.Idle >= quietFor:
				if err := sockets.Reset(socket); err != nil {
					return n, err
				}
				delete(left, inode)
				n++
			}
		}
		if len(left) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
	return n, nil
}

// existing are the target's connections with clients by the inode, without those that are passed through.
func existing(sockets *redirect.Sockets, p wire.SubscribeParams) (map[uint32]redirect.Socket, error) {
	all, err := sockets.To(p.Port)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	own, err := ownSockets()
	if err != nil {
		return nil, err
	}
	passed, err := redirect.Shown()
	if err != nil {
		return nil, fmt.Errorf("tell passed connections: %w", err)
	}
	clients := map[uint32]redirect.Socket{}
	for _, socket := range all {
		switch {
		case own[strconv.FormatUint(uint64(socket.Inode), 10)], passed[socket.Remote]:
		case p.Loopback && !isOwn(socket):
		default:
			clients[socket.Inode] = socket
		}
	}
	return clients, nil
}

// isOwn says whether a connection was made over loopback, as a sidecar makes it.
func isOwn(s redirect.Socket) bool {
	return s.Remote.Addr().IsLoopback() || s.Remote.Addr() == s.Local.Addr()
}

// noteConnection keeps a connection where it can be found, until the function it returns is called.
func (ps *Ports) noteConnection(c *connection) (forget func()) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.under[c] = true
	return func() {
		ps.mu.Lock()
		defer ps.mu.Unlock()
		delete(ps.under, c)
	}
}

// resetPassed resets connections to a port that are the target's whatever is claimed: those that were passed through whole, and those of
// sessions that are over. Requests of all others are told apart by what is claimed now.
func (ps *Ports) resetPassed(number uint16) (n int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for c := range ps.under {
		if c.number == number && (c.passed.Load() || ps.ports[number] != c.port) {
			splice.Reset(c.client.conn)
			n++
		}
	}
	return n
}
