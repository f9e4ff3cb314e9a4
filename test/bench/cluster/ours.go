//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"podstep.dev/adapter/cluster"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// ours is podstep's own link to the agent beside the target, without a session.
type ours struct {
	target place.Target
	link   *mux.Session
}

// join attaches as a session would that steals.
func (s *stage) join(ctx context.Context) (_ *ours, err error) {
	m := config.Default()
	m.Target, m.Namespace = "pod/target", s.ns
	m.Incoming = config.Incoming{Mode: config.ModeSteal, Ports: map[uint16]uint16{stolenPort: localPort}}
	o := &ours{}
	if o.target, err = (cluster.Provider{Holder: "bench"}).Find(ctx, m, func(string) {}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.target.Close())
		}
	}()
	set, ok := <-o.target.Places(ctx)
	if !ok || len(set) == 0 {
		return nil, fmt.Errorf("the target has no place: %w", o.target.Err())
	}
	conn, err := set[0].Attach(ctx)
	if err != nil {
		return nil, err
	}
	o.link, err = mux.Start(ctx, conn, mux.AdapterSide, mux.Options{Hello: wire.Hello{Program: "bench", Holder: "bench", Session: "bench"}})
	if err != nil {
		return nil, err
	}
	return o, nil
}

// dial connects to a port of the target, as the debuggee would.
func (o *ours) dial(ctx context.Context, port uint16) (io.ReadWriteCloser, error) {
	return o.link.Open(ctx, wire.Header{Kind: wire.KindDial, Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}, nil)
}

func (o *ours) close() error { return errors.Join(o.link.Close(), o.target.Close()) }
