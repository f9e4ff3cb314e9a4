//go:build linux

package incoming

import (
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http2"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// http2 serves a connection that begins as one of HTTP/2 does, until the client has no more to say.
func (v *conversation) http2() error {
	began, err := v.preface()
	if err != nil || began == 0 {
		return v.noHTTP2(nil, nil, 0)
	}
	v.asked.Store(true)
	server, heard, err := v.takeTarget()
	if err != nil {
		v.log.Debug("target", zap.Error(err))
		return v.noHTTP2(nil, nil, 0)
	}
	m := &interposer{
		conversation: v, server: server,
		streams: map[uint32]*h2stream{}, byTarget: map[uint32]*h2stream{}, final: 1<<31 - 1,
	}
	m.space.L = &m.mu
	m.fromTarget.src, m.fromTarget.buffers = server, v.memory.buffers
	m.fromTarget.put(heard)
	clampTable(v.in.bytes()[len(http2.ClientPreface)+frameHead : began])
	if _, err := server.Write(v.in.bytes()[:began]); err == nil && !m.greets() {
		return v.noHTTP2(server, m.fromTarget.bytes(), began)
	} else if err != nil {
		return v.noHTTP2(server, nil, began)
	}
	if v.greeted != nil && !v.greeted.withdraw() {
		m.fromTarget.free()
		splice.Reset(server)
		server.free()
		return v.sendRaw()
	}
	return m.serve(began)
}

// preface waits for the client's preface and its SETTINGS frame (RFC 9113 §3.4), and says how long these are; 0 when it is something
// else.
func (v *conversation) preface() (n int, err error) {
	const preface = http2.ClientPreface
	_ = v.client.conn.SetReadDeadline(time.Now().Add(settingsPatience))
	defer func() { _ = v.client.conn.SetReadDeadline(time.Time{}) }()
	for {
		b := v.in.bytes()
		switch n := min(len(b), len(preface)); {
		case string(b[:n]) != preface[:n]:
			return 0, nil
		case len(b) >= len(preface)+frameHead:
			b = b[len(preface):]
			if !isSettings(b) {
				return 0, nil
			}
			if n := frameHead + lengthOf(b); len(b) >= n {
				return len(preface) + n, nil
			}
		}
		if err := v.in.fill(); err != nil {
			if isTimeout(err) {
				v.in.end = nil
			}
			return 0, err
		}
		if v.raw.Load() != nil {
			return 0, nil
		}
	}
}

// takeTarget connects to the target, or takes over the connection that there is with what was heard on it.
func (v *conversation) takeTarget() (socket, []byte, error) {
	v.mu.Lock()
	l := v.target
	v.mu.Unlock()
	if l == nil {
		server, err := v.dial(v.life)
		return server, nil, err
	}
	if !l.handOver() {
		return nil, nil, errOver
	}
	v.mu.Lock()
	v.target = nil
	v.mu.Unlock()
	return l.conn.(socket), l.heard, nil
}

// greets waits for the target's SETTINGS.
func (m *interposer) greets() bool {
	_ = m.server.SetReadDeadline(time.Now().Add(settingsPatience))
	defer func() { _ = m.server.SetReadDeadline(time.Time{}) }()
	for b := m.fromTarget.bytes(); len(b) < frameHead || isSettings(b) && len(b) < frameHead+lengthOf(b); b = m.fromTarget.bytes() {
		if err := m.fromTarget.fill(); err != nil {
			if isTimeout(err) {
				m.fromTarget.end = nil
			}
			break
		}
	}
	b := m.fromTarget.bytes()
	return isSettings(b) && len(b) >= frameHead+lengthOf(b)
}

// noHTTP2 has all that comes go to one party: to the debuggee of a session that takes everything, else to the target, which has the
// first began bytes already if there is a connection to it.
func (v *conversation) noHTTP2(server socket, heard []byte, began int) error {
	v.hasSpoken()
	l := v.greeted
	if st := v.all(); l == nil && st != nil {
		l = v.greet(st)
	}
	if l == nil {
		v.tellUnread(wire.UnreadHTTP2)
	}
	if server == nil || l != nil {
		if server != nil {
			splice.Reset(server)
			server.free()
		}
		return v.passRaw()
	}
	v.in.skip(began)
	v.mu.Lock()
	v.target = v.newLeg(&heardConn{server, heard}, server.free)
	v.mu.Unlock()
	return v.passRaw()
}

// heardConn is a connection of which some was read already.
type heardConn struct {
	socket
	heard []byte
}

func (c *heardConn) Read(p []byte) (int, error) {
	if len(c.heard) > 0 {
		n := copy(p, c.heard)
		c.heard = c.heard[n:]
		return n, nil
	}
	return c.socket.Read(p)
}
