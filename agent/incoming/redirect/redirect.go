//go:build linux

// Package redirect diverts the connections that are made to a port of this network namespace to the caller, by kernel
// rules that undo themselves: they go when they are released, when the process ends however it ends, and within
// [Expiry] when the process hangs. It decides nothing about the connections.
//
// There is one nftables table per stolen port, named podstep-PORT and owned by the thief's netlink socket, so the kernel
// itself refuses a second thief of the port. Only SYNs are diverted (tproxy), to a listener on loopback that is of no
// use to anyone else; connections that exist stay where they are. [Clients] passes a connection through to whoever
// really listens, which sees the true client address.
package redirect

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"go.uber.org/zap"

	"podstep.dev/internal/wire"
)

// Mark is the packet mark of passthrough connections ("PS"): the steal rules of every agent let it go by.
const Mark = 0x5053

// Expiry is how long a steal outlives the last refresh, refreshEvery how often it is refreshed: a process that is
// stopped lets go of the port within Expiry, and one that is late by two refreshes does not.
const (
	Expiry       = 900 * time.Millisecond
	refreshEvery = 250 * time.Millisecond
	// giveUpAfter is how many refreshes in a row may fail before the steal counts as lost.
	giveUpAfter = 8
)

// Options of Start. The zero value works.
type Options struct {
	// Log receives the steal's lines. If nil, nothing is logged.
	Log *zap.Logger
	// Holder is shown to others who want the same port. If zero, they learn nothing.
	Holder wire.Holder
	// Loopback diverts only what arrives over the loopback interface: what this namespace's own processes send, such as a
	// sidecar that hands the target its traffic.
	Loopback bool
	// Lost is told once when the steal ended by itself. If nil, nobody is told.
	Lost func(error)
}

// Accepted is handed each diverted connection, which it owns: from is the true client, to the original destination.
// While it blocks, further connections wait in the listener's queue.
type Accepted func(conn *net.TCPConn, from, to netip.AddrPort)

// Steal is one stolen port. Its goroutines, all ended by Close, which waits for them: one accepts for each address
// family, one refreshes the rule until Release.
type Steal struct {
	port      uint16
	opts      Options
	listeners []*net.TCPListener
	accepting sync.WaitGroup
	refresher sync.WaitGroup
	released  chan struct{}

	mu        sync.Mutex
	table     *table
	stolen    *nftables.Set
	suspended bool
}

// Start steals port in the network namespace of the calling process. A port that somebody else has stolen, a missing
// capability or a kernel that lacks something is a *wire.Refusal.
func Start(port uint16, accepted Accepted, opts Options) (*Steal, error) {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Lost == nil {
		opts.Lost = func(error) {}
	}
	s := &Steal{port: port, opts: opts, released: make(chan struct{})}
	if err := s.listen(); err != nil {
		return nil, err
	}
	if err := s.install(); err != nil {
		return nil, errors.Join(err, s.closeListeners())
	}
	for _, l := range s.listeners {
		s.accepting.Go(func() { s.accept(l, accepted) })
	}
	s.refresher.Go(s.keep)
	return s, nil
}

// install makes the table; the element that switches the rule on comes last.
func (s *Steal) install() error {
	t, err := openTable(tableName(s.port), encodeHolder(s.opts.Holder))
	if err != nil {
		return s.explain(err)
	}
	s.table = t
	if err := s.addRules(); err != nil {
		return errors.Join(s.explain(err), t.Close())
	}
	return nil
}

func (s *Steal) addRules() error {
	s.stolen = &nftables.Set{Table: s.table.Table, Name: "stolen", KeyType: nftables.TypeInetService, HasTimeout: true}
	if err := s.table.addSet(s.stolen); err != nil {
		return err
	}
	chain := &nftables.Chain{
		Name: "steal", Table: s.table.Table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle,
	}
	if err := s.table.addChain(chain); err != nil {
		return err
	}
	if err := s.table.addRule(chain, "packet marks", acceptMark()); err != nil {
		return err
	}
	for _, l := range s.listeners {
		if err := s.table.addRule(chain, "tproxy and fib (CONFIG_NFT_TPROXY, CONFIG_NFT_FIB_INET)", divert(s.stolen, address(l.Addr()), s.opts.Loopback)); err != nil {
			return err
		}
	}
	if err := s.table.SetAddElements(s.stolen, s.element()); err != nil {
		return err
	}
	return s.table.flush("set timeouts")
}

// element is the stolen port, until Expiry from now.
func (s *Steal) element() []nftables.SetElement {
	return []nftables.SetElement{{Key: binaryutil.BigEndian.PutUint16(s.port), Timeout: Expiry}}
}

// keep refreshes the rule until Release.
func (s *Steal) keep() {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	failed := 0
	for {
		select {
		case <-s.released:
			return
		case <-tick.C:
		}
		err := s.refresh()
		if err == nil {
			failed = 0
			continue
		}
		s.opts.Log.Warn("steal not refreshed", zap.Uint16("port", s.port), zap.Error(err))
		if failed++; failed == giveUpAfter {
			s.opts.Lost(err)
			return
		}
	}
}

// refresh gives the element its full time again. Adding one that exists changes nothing and deleting one that expired
// fails, so all three steps are needed, in one transaction.
func (s *Steal) refresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.table == nil || s.suspended {
		return nil
	}
	e := s.element()
	if err := s.table.SetAddElements(s.stolen, e); err != nil {
		return err
	}
	if err := s.table.SetDeleteElements(s.stolen, e); err != nil {
		return err
	}
	if err := s.table.SetAddElements(s.stolen, e); err != nil {
		return err
	}
	return s.table.flush("refresh")
}

// Suspend stops diverting (true) or starts again, while the port stays held. Connections made meanwhile go to whoever
// really listens.
func (s *Steal) Suspend(on bool) error {
	s.mu.Lock()
	if s.suspended == on || s.table == nil {
		s.mu.Unlock()
		return nil
	}
	s.suspended = on
	if !on {
		s.mu.Unlock()
		return s.refresh()
	}
	defer s.mu.Unlock()
	// Added first because deleting an element that expired fails.
	if err := s.table.SetAddElements(s.stolen, s.element()); err != nil {
		return err
	}
	if err := s.table.SetDeleteElements(s.stolen, s.element()); err != nil {
		return err
	}
	return s.table.flush("suspend")
}

// Release removes the rules at once: connections made from here on go to whoever really listens, and the port is free
// for others. Connections whose handshake was under way are still accepted until Close.
func (s *Steal) Release() error {
	s.mu.Lock()
	t := s.table
	s.table = nil
	s.mu.Unlock()
	if t == nil {
		return nil
	}
	err := t.Close()
	close(s.released)
	s.refresher.Wait()
	return err
}

// Close releases the port and ends the listeners. Connections that were handed over are not touched.
func (s *Steal) Close() error {
	err := errors.Join(s.Release(), s.closeListeners())
	s.accepting.Wait()
	return err
}

func tableName(port uint16) string { return fmt.Sprintf("podstep-%d", port) }

// explain turns the kernel's refusal of a table into one that says who holds the port or what is missing.
func (s *Steal) explain(err error) error {
	// A table of another owner is EPERM to everyone else, as a missing capability is.
	if errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.EPERM) {
		if h, ok := ReadHolder(s.port); ok {
			return Taken(s.port, h)
		}
	}
	return lacking(fmt.Sprintf("steal port %d", s.port), err)
}
