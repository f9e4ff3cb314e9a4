package sieve

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/h2"
	"podstep.dev/internal/wire"
)

const (
	// maxUndecided is how many requests of a connection wait for their content at once. Of a further one, the oldest is decided by what is
	// known: nobody hears that a server has given up an upload.
	maxUndecided = 32
	// maxUnfinished is the same for those that are let through and not whole. Of a further one, the oldest is given up.
	maxUnfinished = 256
)

// errStale is why the oldest unfinished request is given up.
var errStale = errors.New("too many of the connection's requests are not whole")

// streams tells the requests of one connection of HTTP/2 apart, behind the client's preface. The server's settings are not heard, so
// the client may do what any may allow, within the bounds of package h2.
type streams struct {
	filter  *filter.Matcher
	leftOut func(filter.Request) bool
	frames  frames
	blocks  *h2.BlockReader
	// table is the most that the client's fields take in the reader's table.
	table int
	// last is the newest request's stream.
	last uint32
	// undecided wait for their content; unfinished are let through, and not whole.
	undecided  map[uint32]*pending
	unfinished map[uint32]struct{}
	// out is that of the call under way, frame the head of content that is handed to it.
	out   Copies
	frame [h2.FrameHead]byte
}

// pending is a request for whose content the filter waits.
type pending struct {
	head *Head
	size int // of head, in bytes
	body []byte
}

func newStreams(m *filter.Matcher, leftOut func(filter.Request) bool) *streams {
	return &streams{
		filter: m, leftOut: leftOut, blocks: h2.NewBlockReader(), table: 4 << 10,
		undecided: map[uint32]*pending{}, unfinished: map[uint32]struct{}{},
	}
}

// held is the memory of what is kept, in bytes; fields in the table take about twice what the protocol counts.
func (s *streams) held() int {
	n := 2*s.table + cap(s.frames.gathered) + cap(s.frames.block)
	for _, p := range s.undecided {
		n += p.size + cap(p.body)
	}
	return n
}

// take takes in bytes. Its error is an *UnreadError.
func (s *streams) take(b []byte, out Copies) error {
	s.out = out
	defer func() { s.out = nil }()
	for len(b) > 0 {
		n, err := s.frames.take(b, s)
		if err != nil {
			return s.unread(err)
		}
		b = b[n:]
	}
	return nil
}

// unread says why nothing more can be told apart.
func (s *streams) unread(err error) error {
	why := wire.UnreadHTTP2
	if errors.Is(err, h2.ErrLong) {
		why = wire.UnreadLong
	}
	return &UnreadError{Why: why, Torn: len(s.unfinished) > 0}
}

// content takes in some of a request's content; ends says that it is all.
func (s *streams) content(id uint32, p []byte, ends bool) {
	if u := s.undecided[id]; u != nil {
		room := filter.MaxBody - len(u.body)
		if len(p) <= room {
			u.body = append(u.body, p...)
			if ends {
				s.decide(id, u, true, true)
			}
			return
		}
		s.decide(id, u, false, false)
	}
	if _, ok := s.unfinished[id]; ok {
		s.data(id, p, ends)
	}
}

// reset takes in that the client gave a request up, or wants no more of an answer.
func (s *streams) reset(id uint32, code http2.ErrCode) {
	if s.undecided[id] != nil {
		delete(s.undecided, id)
		return
	}
	delete(s.unfinished, id)
	s.cancel(id, code)
}

func (s *streams) cancel(id uint32, code http2.ErrCode) {
	var frame bytes.Buffer
	_ = h2.NewWriter(&frame).Reset(code) // into memory
	s.out.Keep(id, frame.Bytes(), false)
	s.out.End(id, context.Canceled)
}

// section takes in a header block: a request's head, or its trailer.
func (s *streams) section(id uint32, block []byte, ends bool) error {
	s.table = max(s.table, tableOf(block))
	fields, err := s.blocks.Read(block)
	isLong := errors.Is(err, h2.ErrLong)
	_, isOpen := s.unfinished[id]
	u := s.undecided[id]
	switch {
	case err != nil && !isLong:
		return err
	case isOpen || u != nil:
		s.trailer(id, u, fields, ends && !isLong && areRegular(fields))
	case id <= s.last:
		// The trailer of a request that is not let through.
	case id%2 == 0:
		return h2.ErrFrame
	case isLong:
		s.last = id
		return h2.ErrLong
	default:
		s.last = id
		s.request(id, fields, ends)
	}
	return nil
}

// trailer ends a request; one that is malformed is reset by every server (RFC 9113 §8.1).
func (s *streams) trailer(id uint32, u *pending, fields []hpack.HeaderField, wellFormed bool) {
	if u != nil {
		if !wellFormed {
			delete(s.undecided, id)
			return
		}
		s.decide(id, u, true, false)
	}
	if _, ok := s.unfinished[id]; !ok {
		return
	}
	if !wellFormed {
		delete(s.unfinished, id)
		s.cancel(id, http2.ErrCodeProtocol)
		return
	}
	s.fields(id, keep(fields), false, true)
}

// request decides about a request by its head, or has its content looked into.
func (s *streams) request(id uint32, fields []hpack.HeaderField, ends bool) {
	head := ReadHead(fields)
	if head == nil || !head.Tunnel && s.leftOut(head.About) {
		return
	}
	verdict := s.filter.Match(head.About)
	if verdict == filter.NeedsBody {
		if !ends {
			s.wait(id, head)
			return
		}
		verdict = s.filter.MatchBody(head.About, nil, true)
	}
	if verdict == filter.Yes {
		s.begin(id, head.Keep(), ends)
	}
}

// wait has a request wait for its content.
func (s *streams) wait(id uint32, head *Head) {
	if len(s.undecided) >= maxUndecided {
		oldest := oldestOf(s.undecided)
		s.decide(oldest, s.undecided[oldest], false, false)
	}
	u := &pending{head: head.Keep()}
	for _, f := range u.head.Fields {
		u.size += int(f.Size())
	}
	s.undecided[id] = u
}

// decide asks the filter about a request of which so much content is known; complete says that it is all, ends that no trailer follows.
func (s *streams) decide(id uint32, u *pending, complete, ends bool) {
	delete(s.undecided, id)
	if s.filter.MatchBody(u.head.About, u.body, complete) != filter.Yes {
		return
	}
	s.begin(id, u.head, ends && len(u.body) == 0)
	if len(u.body) > 0 {
		s.data(id, u.body, ends)
	}
}

// begin lets a request through.
func (s *streams) begin(id uint32, head *Head, ends bool) {
	if len(s.unfinished) >= maxUnfinished {
		oldest := oldestOf(s.unfinished)
		delete(s.unfinished, oldest)
		s.out.End(oldest, errStale)
	}
	s.unfinished[id] = struct{}{}
	s.fields(id, head.Fields, true, ends)
}

// fields lets a header section through.
func (s *streams) fields(id uint32, fields []hpack.HeaderField, begins, ends bool) {
	section, err := h2.Begin(fields, nil, ends)
	if err != nil {
		panic("a header section that was read is within the bounds of a message: " + err.Error())
	}
	s.out.Keep(id, section, begins)
	s.finish(id, ends)
}

// data lets content through.
func (s *streams) data(id uint32, p []byte, ends bool) {
	for first := true; first || len(p) > 0; first = false {
		n := min(len(p), h2.MaxData)
		h2.DataHead(&s.frame, n, ends && n == len(p))
		s.out.Keep(id, s.frame[:], false)
		s.out.Keep(id, p[:n], false)
		p = p[n:]
	}
	s.finish(id, ends)
}

// finish ends a request if that is whole.
func (s *streams) finish(id uint32, ends bool) {
	if ends {
		delete(s.unfinished, id)
		s.out.End(id, nil)
	}
}

func oldestOf[T any](m map[uint32]T) uint32 {
	oldest := ^uint32(0)
	for id := range m {
		oldest = min(oldest, id)
	}
	return oldest
}

// tableOf is the size of the table that a block begins with, 0 when it does not change it (RFC 7541 §6.3).
func tableOf(block []byte) (size int) {
	for len(block) > 0 && block[0]&0xe0 == 0x20 {
		n, rest, ok := varint(block)
		if !ok {
			break
		}
		size, block = max(size, n), rest
	}
	return min(size, h2.MaxTable)
}

// varint reads an integer with a prefix of 5 bits (RFC 7541 §5.1).
func varint(b []byte) (n int, rest []byte, ok bool) {
	n, b = int(b[0]&0x1f), b[1:]
	if n < 0x1f {
		return n, b, true
	}
	more, size := binary.Uvarint(b[:min(len(b), 4)])
	if size <= 0 {
		return 0, nil, false
	}
	return n + int(more), b[size:], true
}
