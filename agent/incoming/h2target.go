//go:build linux

package incoming

import (
	"encoding/binary"

	"golang.org/x/net/http2"

	"podstep.dev/internal/h2"
)

// fromTargets takes in one frame of the target's.
func (m *interposer) fromTargets(f frame) error {
	if m.down.blocks.open && f.kind != http2.FrameContinuation {
		return errProtocol
	}
	switch f.kind {
	case http2.FrameHeaders:
		fragment, ok := f.fragment()
		if !ok {
			return errProtocol
		}
		if m.down.blocks.begin(f, fragment) {
			return m.targetBlock()
		}
	case http2.FramePushPromise:
		fragment, ok := h2.Unpad(f.payload, f.has(http2.FlagPushPromisePadded))
		if !ok || len(fragment) < 4 {
			return errProtocol
		}
		if m.down.blocks.begin(f, fragment[4:]) {
			return m.targetBlock()
		}
	case http2.FrameContinuation:
		whole, err := m.down.blocks.goOn(f)
		if err != nil || !whole {
			return err
		}
		return m.targetBlock()
	case http2.FrameData:
		return m.targetData(f)
	case http2.FrameSettings:
		return m.targetSettings(f)
	case http2.FrameWindowUpdate:
		return m.targetWindow(f)
	case http2.FrameRSTStream:
		return m.targetReset(f)
	case http2.FrameGoAway:
		return m.targetGoesAway(f)
	case http2.FramePing:
		m.down.pass(f.raw)
	case http2.FramePriority:
		if !m.mixed {
			m.down.pass(f.raw)
		}
	default:
		m.passUnknown(m.down, f, m.ofTarget(f.stream))
	}
	return nil
}

// ofTarget is the stream with an id of the target's.
func (m *interposer) ofTarget(id uint32) *h2stream {
	if m.mixed {
		return m.byTarget[id]
	}
	return m.streams[id]
}

// targetBlock takes in a header block of the target's that is whole: a response's head, its trailer, or a promise.
func (m *interposer) targetBlock() error {
	b := m.down.blocks
	f, end := b.first, b.first.kind == http2.FrameHeaders && b.first.ends()
	fields, long, err := m.fields(b)
	if err != nil {
		return err
	}
	s := m.ofTarget(f.stream)
	switch {
	case !m.mixed:
		m.down.passBlock()
		if s != nil && end {
			s.answered = true
			m.forgetIfOver(s)
		}
		return nil
	case f.kind == http2.FramePushPromise:
		// An intermediary need not hand pushes on (RFC 9113 §8.4), and these have the ids of other streams.
		m.refusePush(f)
	case s == nil:
		// Of a stream that the client gave up.
	case long:
		m.up.reset(&s.up, http2.ErrCodeInternal)
		m.resetClient(s, http2.ErrCodeInternal)
	default:
		s.answered = s.answered || end
		m.down.headers(&s.down, fields, end)
		m.forgetIfOver(s)
	}
	b.frames = nil
	return nil
}

func (m *interposer) refusePush(f frame) {
	p, _ := h2.Unpad(f.raw[frameHead:frameHead+lengthOf(f.raw)], f.has(http2.FlagPushPromisePadded))
	if len(p) < 4 {
		return
	}
	id := binary.BigEndian.Uint32(p) & (1<<31 - 1)
	m.up.out.Frame(func(fr *http2.Framer) error { return fr.WriteRSTStream(id, http2.ErrCodeRefusedStream) })
}

// targetData takes in content.
func (m *interposer) targetData(f frame) error {
	p, size, ok := f.data()
	s := m.ofTarget(f.stream)
	switch {
	case !ok:
		return errProtocol
	case s == nil && !m.mixed:
		m.down.passData(&f, p, size)
		return nil
	case s == nil:
		// Of a stream that the client gave up: what it takes of the connection's window the target has back.
		m.repay(nil, size)
		return nil
	}
	raw := f.raw
	if raw != nil && s.up.id != s.id {
		raw = renamed(raw, s.id)
	}
	s.answered = s.answered || f.ends()
	m.repay(s, m.down.data(&s.down, p, size, f.ends(), raw))
	m.forgetIfOver(s)
	return nil
}

// repay grants the target what did not reach the client.
func (m *interposer) repay(s *h2stream, n int) {
	if n == 0 {
		return
	}
	m.up.put()
	m.up.out.Frame(func(f *http2.Framer) error { return f.WriteWindowUpdate(0, uint32(n)) })
	if s != nil && !s.answered {
		m.up.out.Frame(func(f *http2.Framer) error { return f.WriteWindowUpdate(s.up.id, uint32(n)) })
	}
}

func (m *interposer) targetSettings(f frame) error {
	if f.stream != 0 || len(f.payload)%6 != 0 {
		return errProtocol
	}
	if !f.has(http2.FlagSettingsAck) {
		m.settings(m.up, f.payload)
		m.up.drain()
	}
	m.down.pass(f.raw)
	return nil
}

// targetWindow takes in what the target grants.
func (m *interposer) targetWindow(f frame) error {
	if len(f.payload) != 4 {
		return &connectionError{http2.ErrCodeFrameSize}
	}
	n := binary.BigEndian.Uint32(f.payload) & (1<<31 - 1)
	s := m.ofTarget(f.stream)
	switch {
	case f.stream == 0:
		m.grant(m.up, m.down, f, n)
		m.space.Broadcast()
	case !m.mixed:
		m.down.pass(f.raw)
	case s == nil:
	case s.up.window != nil:
		m.grantGivenBack(s, n)
	default:
		m.down.pass(renamed(f.raw, s.id))
	}
	return nil
}

// grantGivenBack takes in what the target grants for a request that was given back to it.
func (m *interposer) grantGivenBack(s *h2stream, n uint32) {
	_ = s.up.window.Grant(n)
	paid := min(int(n), s.debt)
	s.debt -= paid
	if left := n - uint32(paid); left > 0 && !s.ended {
		m.down.put()
		m.down.out.Frame(func(f *http2.Framer) error { return f.WriteWindowUpdate(s.id, left) })
	}
	m.up.drain()
	if s.debt == 0 && len(s.up.items) == 0 {
		s.up.window.Close()
		s.up.window = nil
	}
	m.forgetIfOver(s)
}

// targetReset takes in that the target gives a request up.
func (m *interposer) targetReset(f frame) error {
	if len(f.payload) != 4 {
		return &connectionError{http2.ErrCodeFrameSize}
	}
	s := m.ofTarget(f.stream)
	switch {
	case !m.mixed:
		m.down.pass(f.raw)
		delete(m.streams, f.stream)
	case s != nil:
		m.up.forget(&s.up)
		m.down.reset(&s.down, http2.ErrCode(binary.BigEndian.Uint32(f.payload)))
		if len(s.down.items) == 0 {
			m.forget(s, http2.ErrCodeNo)
		} else {
			s.ended, s.answered = true, true
		}
	}
	return nil
}

// targetGoesAway takes in that the target takes no streams beyond one. What debuggees answer goes on: for those streams the client is not
// told that nobody had them.
func (m *interposer) targetGoesAway(f frame) error {
	if f.stream != 0 || len(f.payload) < 8 {
		return errProtocol
	}
	if !m.mixed {
		m.down.pass(f.raw)
		return nil
	}
	last := binary.BigEndian.Uint32(f.payload) & (1<<31 - 1)
	m.final = min(m.final, last)
	raw := append([]byte(nil), f.raw...)
	if last < 1<<31-1 {
		binary.BigEndian.PutUint32(raw[frameHead:], m.last)
	}
	m.down.pass(raw)
	m.down.put()
	for _, s := range m.streams {
		if s.isTargets() && s.up.id > last {
			m.resetClient(s, http2.ErrCodeRefusedStream)
		}
	}
	return nil
}
