package borrow

import (
	"encoding/json"
	"fmt"
	"time"

	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/wire"
)

// Minor versions from which on an agent knows filters of steals and of mirrors.
const (
	stealFilterMinor  = 2
	mirrorFilterMinor = 3
)

// dig readies the tunnel for what the agents send.
func (b *Borrow) dig() {
	incoming := b.mirror.Incoming
	b.tunnel.Log, b.tunnel.Ports, b.tunnel.Deliver = b.log.Named("tunnel"), incoming.Ports, b.host.Deliver
	if incoming.Mode != config.ModeSteal {
		return
	}
	b.tunnel.Pause = tunnel.Pause{
		Policy: b.onPause(), Requests: incoming.Hold.Requests, Patience: time.Duration(incoming.Hold.Seconds) * time.Second,
	}
	b.tunnel.Fallback = tunnel.Fallback{
		OnExit: incoming.OnExit == config.FailFallback, OnHang: incoming.OnHang == config.FailFallback, Idempotent: incoming.FallbackIdempotent,
	}
	b.tunnel.TLS, b.tunnel.TLSFailed = b.secrets.debuggee, b.sayTLSFailed
	b.mu.Lock() // somebody may set others already
	b.tunnel.SetRules(tunnelRules(b.rules))
	b.mu.Unlock()
	b.tunnel.Holding, b.tunnel.Released = b.holding, b.releasedTo
	b.tunnel.NotHTTP2 = b.sayNotHTTP2
	b.tunnel.HangTimeout = time.Duration(incoming.HangTimeout) * time.Second
}

// onPause is what becomes of requests that come while the debugger is stopped.
func (b *Borrow) onPause() wire.OnPause {
	return wire.OnPause(b.mirror.Incoming.PausePolicy(b.wants.filtered()))
}

// repeat says which delivered requests the target may have when the link is lost.
func (b *Borrow) repeat() wire.Repeat {
	switch incoming := b.mirror.Incoming; {
	case incoming.OnExit != config.FailFallback:
		return wire.RepeatNever
	case incoming.FallbackIdempotent:
		return wire.RepeatIdempotent
	}
	return wire.RepeatSafe
}

// params are those of one port's subscription.
func (l *link) params(port uint16) wire.SubscribeParams {
	b, incoming := l.borrow, l.place.Incoming()
	p := wire.SubscribeParams{
		Port: port, Mode: wire.Mode(b.mirror.Incoming.Mode), Probes: incoming.Probes[port], Loopback: incoming.Loopback,
	}
	if b.wants.filtered() {
		p.Requests, p.Filter = true, b.wants.text
	}
	if p.Mode != wire.ModeSteal {
		return p
	}
	p.Requests, p.OnPause, p.Repeat, p.TLS = true, b.onPause(), b.repeat(), b.secrets.wanted[port]
	p.Hold = b.patience()
	if b.mirror.Incoming.Existing == config.ExistingReset {
		p.Existing = wire.ExistingReset
	}
	if b.mirror.Incoming.Probes == config.ProbesDebuggee {
		p.ProbesTo = wire.ProbesDebuggee
	}
	if f := b.mirror.Incoming.ProbeFilter; !f.IsZero() {
		p.ProbeFilter, _ = json.Marshal(f) // it was read from JSON
	}
	return p
}

// understands says why the agent cannot be asked so, or nil: one that does not know filters would take all requests.
func (l *link) understands(p wire.SubscribeParams) error {
	need := stealFilterMinor
	if p.Mode == wire.ModeMirror {
		need = mirrorFilterMinor
	}
	if peer := l.session.Peer; len(p.Filter) > 0 && peer.Minor < need {
		return fault.New(fault.FilterUnknown, fmt.Sprintf("the agent of %s (%s) cannot filter requests", l.place, peer.Program), nil)
	}
	if peer := l.session.Peer; p.TLS != nil && peer.Minor < tlsMinor {
		return fault.New(fault.TLSUnknown, fmt.Sprintf("the agent of %s (%s) cannot take TLS off", l.place, peer.Program), nil)
	}
	return nil
}
