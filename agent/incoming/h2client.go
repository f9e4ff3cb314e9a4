//go:build linux

package incoming

import (
	"encoding/binary"
	"errors"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/internal/h2"
)

// errProtocol ends a mixed connection.
var errProtocol = &connectionError{http2.ErrCodeProtocol}

// fromClient takes in one frame of the client's. What breaks the rules of the connection is an error; what breaks those of a stream, or of a
// request, is left to the target.
func (m *interposer) fromClient(f frame) error {
	if m.up.blocks.open && f.kind != http2.FrameContinuation {
		return errProtocol
	}
	switch f.kind {
	case http2.FrameHeaders:
		fragment, ok := f.fragment()
		if !ok || f.stream%2 == 0 {
			return errProtocol
		}
		if m.up.blocks.begin(f, fragment) {
			return m.clientBlock()
		}
	case http2.FrameContinuation:
		whole, err := m.up.blocks.goOn(f)
		if err != nil || !whole {
			return err
		}
		return m.clientBlock()
	case http2.FrameData:
		return m.clientData(f)
	case http2.FrameSettings:
		return m.clientSettings(f)
	case http2.FrameWindowUpdate:
		return m.clientWindow(f)
	case http2.FrameRSTStream:
		return m.clientReset(f)
	case http2.FramePing:
		return m.clientPing(f)
	case http2.FrameGoAway:
		if f.stream != 0 {
			return errProtocol
		}
		m.up.pass(f.raw)
	case http2.FramePushPromise:
		return errProtocol
	case http2.FramePriority, http2.FramePriorityUpdate:
		// Hints, by ids that are not the target's any more once mixed.
		if !m.mixed {
			m.up.pass(f.raw)
		}
	default:
		m.passUnknown(m.up, f, m.streams[f.stream])
	}
	return nil
}

// clientPing passes a ping on, but answers one that is about a debuggee's stream: clients of gRPC ping when data comes, to measure the
// bandwidth, and while they wait for an answer, and a target that sends nothing and has no stream ends a connection for that
// (too_many_pings).
func (m *interposer) clientPing(f frame) error {
	switch {
	case f.stream != 0 || len(f.payload) != 8:
		return errProtocol
	case f.has(http2.FlagPingAck), !m.spoke && m.exchanges == 0:
		m.up.pass(f.raw)
		return nil
	}
	m.spoke = false
	m.down.put()
	m.down.out.Frame(func(fr *http2.Framer) error { return fr.WritePing(true, [8]byte(f.payload)) })
	return nil
}

// passUnknown passes on a frame of a type that is of an extension (RFC 9113 §5.5).
func (m *interposer) passUnknown(w *way, f frame, s *h2stream) {
	switch {
	case !m.mixed || f.stream == 0:
		w.pass(f.raw)
	case s != nil && s.isTargets():
		w.put()
		w.out.Bytes(renamed(f.raw, w.idOf(s)))
	}
}

// idOf is the stream's id at the receiver.
func (w *way) idOf(s *h2stream) uint32 {
	if w.toTarget {
		return s.up.id
	}
	return s.down.id
}

// renamed is a copy of a frame with another stream's id.
func renamed(raw []byte, id uint32) []byte {
	p := append([]byte(nil), raw...)
	binary.BigEndian.PutUint32(p[5:], id)
	return p
}

// clientBlock takes in a header block of the client's that is whole: a request's head, or its trailer.
func (m *interposer) clientBlock() error {
	b := m.up.blocks
	id, end := b.first.stream, b.first.ends()
	fields, long, err := m.fields(b)
	if err != nil {
		return err
	}
	s := m.streams[id]
	switch {
	case s != nil:
		m.clientTrailer(s, fields, end)
	case id <= m.last, id > m.final && m.mixed:
		// Of a stream that is over, or that the target said it does not take.
		if !m.mixed {
			m.up.passBlock()
		}
	case long || len(m.streams) >= maxStreams:
		m.last = id
		m.mix()
		m.resetId(id, http2.ErrCodeRefusedStream)
	default:
		m.last = id
		s = &h2stream{id: id, ended: end}
		s.up, s.down = backlog{stream: s, id: id}, backlog{stream: s, id: id}
		m.request(s, fields)
	}
	b.frames = nil
	return nil
}

// fields reads a header block that is whole; long says that it is longer than what is looked into.
func (m *interposer) fields(b *blocks) (fields []hpack.HeaderField, long bool, err error) {
	fields, err = b.read()
	long = errors.Is(err, h2.ErrLong)
	switch {
	case err != nil && !long:
		return nil, false, &connectionError{http2.ErrCodeCompression}
	case long && !m.mixed:
		return nil, true, err
	}
	return fields, long, nil
}

// request routes a request whose head is known.
func (m *interposer) request(s *h2stream, fields []hpack.HeaderField) {
	m.streams[s.id] = s
	r := sieve.ReadHead(fields)
	if r == nil || m.targetOver {
		m.toTarget(s, fields)
		return
	}
	switch st, needs := m.chooses(r, s); {
	case needs != nil:
		m.mix()
		m.undecide(s, r, needs)
	case st != nil && m.exchanges < maxExchanges:
		m.offer(s, r, st)
	default:
		m.toTarget(s, fields)
	}
}

// toTarget gives the target a request whose head was just read.
func (m *interposer) toTarget(s *h2stream, fields []hpack.HeaderField) {
	if !m.mixed {
		m.nextTarget = s.id + 2
		m.up.passBlock()
		m.forgetIfOver(s)
		return
	}
	m.admit(s)
	if m.streams[s.id] != s {
		return
	}
	m.up.put()
	m.up.out.Headers(s.up.id, fields, s.ended)
}

// admit gives a stream an id at the target, or refuses it when the target takes no more.
func (m *interposer) admit(s *h2stream) {
	id := max(s.id, m.nextTarget)
	if m.targetOver || id > m.final {
		m.resetClient(s, http2.ErrCodeRefusedStream)
		return
	}
	s.up.id, m.nextTarget = id, id+2
	m.byTarget[id] = s
}

// clientTrailer takes in a trailer.
func (m *interposer) clientTrailer(s *h2stream, fields []hpack.HeaderField, end bool) {
	ended := s.ended
	s.ended = s.ended || end
	switch {
	case s.isTargets() && !m.mixed:
		m.up.passBlock()
	case ended || !end && !s.isTargets():
		m.resetBoth(s, http2.ErrCodeProtocol)
		return
	case s.isTargets():
		m.up.headers(&s.up, fields, end)
	case s.undecided != nil:
		s.undecided.x.trailer = cloned(fields)
		m.decide(s)
	default:
		s.x.finish(cloned(fields))
	}
	m.forgetIfOver(s)
}

// cloned is not nil, also of an empty trailer.
func cloned(fields []hpack.HeaderField) []hpack.HeaderField {
	return append(make([]hpack.HeaderField, 0, len(fields)), fields...)
}

// clientData takes in content.
func (m *interposer) clientData(f frame) error {
	p, size, ok := f.data()
	s := m.streams[f.stream]
	switch {
	case !ok || f.stream == 0:
		return errProtocol
	case s == nil && !m.mixed:
		m.up.passData(&f, p, size)
		return nil
	case s == nil:
		// Of a stream that is over.
		m.owe(size)
		return nil
	case s.ended && m.mixed:
		m.resetBoth(s, http2.ErrCodeStreamClosed)
		m.owe(size)
		return nil
	}
	s.ended = s.ended || f.ends()
	switch {
	case s.isTargets():
		raw := f.raw
		if raw != nil && s.up.id != s.id {
			raw = renamed(raw, s.up.id)
		}
		m.credit(s, m.up.data(&s.up, p, size, f.ends(), raw))
	case s.undecided != nil:
		m.contentOf(s, p, size)
	default:
		s.x.push(p, size)
	}
	m.forgetIfOver(s)
	return nil
}

// credit lets the client send as much again as the agent has taken.
func (m *interposer) credit(s *h2stream, n int) {
	if n == 0 {
		return
	}
	m.owe(n)
	s.owed += n
	if s.ended || s.owed < int(min(4<<10, m.up.windows.Initial()/2)) {
		return
	}
	n, s.owed = s.owed, 0
	m.down.put()
	m.down.out.Frame(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(s.id, uint32(n)) })
}

// owe lets the client send as much again on the connection. It is told when it is worth a frame: the window is never less than
// 65,535 bytes at its beginning (RFC 9113 §6.9.2).
func (m *interposer) owe(n int) {
	if m.owed += n; m.owed < 4<<10 {
		return
	}
	n, m.owed = m.owed, 0
	m.down.put()
	m.down.out.Frame(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(0, uint32(n)) })
}

// clientSettings notes what the client says of itself, and passes it on.
func (m *interposer) clientSettings(f frame) error {
	if f.stream != 0 || len(f.payload)%6 != 0 {
		return errProtocol
	}
	if !f.has(http2.FlagSettingsAck) {
		m.settings(m.down, f.payload)
	}
	m.up.pass(f.raw)
	return nil
}

// clampTable makes a table of fields in SETTINGS no larger than is kept here. The sender of SETTINGS does not know how much of it is used.
func clampTable(p []byte) {
	for ; len(p) >= 6; p = p[6:] {
		if http2.SettingID(binary.BigEndian.Uint16(p)) == http2.SettingHeaderTableSize && binary.BigEndian.Uint32(p[2:]) > h2.MaxTable {
			binary.BigEndian.PutUint32(p[2:], h2.MaxTable)
		}
	}
}

// settings notes what a receiver says of itself.
func (m *interposer) settings(w *way, p []byte) {
	clampTable(p)
	for ; len(p) >= 6; p = p[6:] {
		value := binary.BigEndian.Uint32(p[2:])
		switch http2.SettingID(binary.BigEndian.Uint16(p)) {
		case http2.SettingHeaderTableSize:
			w.out.SetTable(value)
		case http2.SettingInitialWindowSize:
			_ = w.windows.SetInitial(value) // judged by who gets it
		case http2.SettingMaxFrameSize:
			if value >= 16<<10 {
				w.out.SetMaxFrame(min(value, h2.MaxData))
			}
		}
	}
}

// clientWindow takes in what the client grants.
func (m *interposer) clientWindow(f frame) error {
	if len(f.payload) != 4 {
		return &connectionError{http2.ErrCodeFrameSize}
	}
	n := binary.BigEndian.Uint32(f.payload) & (1<<31 - 1)
	s := m.streams[f.stream]
	switch {
	case f.stream == 0:
		m.grant(m.down, m.up, f, n)
		m.space.Broadcast()
	case !m.mixed:
		m.up.pass(f.raw)
	case s == nil:
	case s.isTargets():
		m.up.put()
		m.up.out.Bytes(renamed(f.raw, s.up.id))
	case s.undecided != nil:
		s.undecided.x.granted += n
	default:
		s.x.granted += n
		if n == 0 || s.x.credit.Grant(n) != nil {
			m.resetBoth(s, http2.ErrCodeFlowControl)
		}
	}
	return nil
}

// grant takes in what the receiver of one way grants for the connection, and tells the other end of what is beyond the debt.
func (m *interposer) grant(w, back *way, f frame, n uint32) {
	switch left := w.granted(n); {
	case left == n:
		back.pass(f.raw)
	case left > 0:
		back.put()
		back.out.Frame(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(0, left) })
	}
}

// clientReset takes in that the client gives a request up.
func (m *interposer) clientReset(f frame) error {
	if len(f.payload) != 4 {
		return &connectionError{http2.ErrCodeFrameSize}
	}
	s := m.streams[f.stream]
	code := http2.ErrCode(binary.BigEndian.Uint32(f.payload))
	switch {
	case !m.mixed:
		m.up.pass(f.raw)
		delete(m.streams, f.stream)
	case s != nil:
		m.cancel(s, code)
	}
	return nil
}

// cancel ends a stream that the client gave up.
func (m *interposer) cancel(s *h2stream, code http2.ErrCode) {
	if s.isTargets() && s.up.id != 0 && !m.targetOver {
		m.up.forget(&s.up)
		m.up.reset(&s.up, code)
	}
	m.forget(s, code)
}

// resetClient ends a stream towards the client.
func (m *interposer) resetClient(s *h2stream, code http2.ErrCode) {
	m.forget(s, code)
	m.resetId(s.id, code)
}

func (m *interposer) resetId(id uint32, code http2.ErrCode) {
	m.down.put()
	m.down.out.Frame(func(f *http2.Framer) error { return f.WriteRSTStream(id, code) })
}

// resetBoth ends a stream that the client broke the rules of.
func (m *interposer) resetBoth(s *h2stream, code http2.ErrCode) {
	m.cancel(s, code)
	m.resetId(s.id, code)
}

// forgetIfOver forgets a stream when both ends have sent all.
func (m *interposer) forgetIfOver(s *h2stream) {
	if s.ended && s.answered && len(s.up.items) == 0 && len(s.down.items) == 0 && (s.x == nil || s.x.sent) {
		m.forget(s, http2.ErrCodeNo)
	}
}

// forget ends a stream; a debuggee that is asked is told the code.
func (m *interposer) forget(s *h2stream, code http2.ErrCode) {
	if m.streams[s.id] != s {
		return
	}
	delete(m.streams, s.id)
	if m.byTarget[s.up.id] == s {
		delete(m.byTarget, s.up.id)
	}
	m.up.forget(&s.up)
	m.down.forget(&s.down)
	if s.up.window != nil {
		s.up.window.Close()
	}
	if u := s.undecided; u != nil {
		u.x.over, u.x.waiting = true, nil
		u.x.account()
		s.settled()
	}
	if s.x != nil {
		s.x.abandon(code)
	}
	m.space.Broadcast()
}

// mix has header blocks written anew from here on, and the target's streams have ids of their own.
func (m *interposer) mix() {
	if m.mixed {
		return
	}
	m.mixed = true
	m.up.put()
	m.up.out.Forget()
	m.down.out.Forget()
	for id, s := range m.streams {
		if s.id != m.last {
			m.byTarget[id] = s
		}
	}
}
