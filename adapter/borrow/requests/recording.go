package requests

import (
	"bytes"
	"net/netip"
	"time"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

// Where a request went, as the tunnel says it.
const (
	Debuggee = "debuggee"
	Copy     = "copy" // to the debuggee; the target answered its client
	Target   = "target"
	Nobody   = "nobody"  // podstep or the agent told the client of a failure
	Held     = "held"    // a rule has it wait for somebody, nobody has it yet
	Delayed  = "delayed" // a rule has it wait for a while, nobody has it yet
)

// record is one request as it is kept. The log's lock guards it.
type record struct {
	id                uint64
	header            wire.Header
	replayOf          uint64
	came, first, over time.Time // first is the first byte of the response
	delivered         time.Time // to the debuggee
	went, why         string
	seen              Seen
	failed            string // what it ended with, if not in order
	dropped           bool   // it is not in the log any more
	request, response part
}

// part is one direction of a request: its first bytes.
type part struct {
	kept  []byte
	total int64
	head  int // bytes of the head, 0 until they are known
	// Of a message of HTTP/2: content is how much of it is kept, whole how much came, and cut says that frames are missing.
	content int
	whole   int64
	cut     bool
}

// Recording records one request. Its methods do not block and keep no slice that they are given; they may be called by several
// goroutines, each direction's in the order of its bytes.
type Recording struct {
	log    *Log
	record *record
	sent   bool // the request is recorded already
}

// ID is the request's number in the log.
func (r *Recording) ID() uint64 { return r.record.id }

// Protocol is the request's, [wire.HTTP1] or [wire.HTTP2].
func (r *Recording) Protocol() string { return r.record.header.Protocol }

// Request takes the next bytes of the request. Of HTTP/2 these are whole frames of a message of package h2, and so with Response.
func (r *Recording) Request(b []byte) {
	if !r.sent {
		r.take(&r.record.request, b)
	}
}

// Response takes the next bytes of the response.
func (r *Recording) Response(b []byte) {
	r.log.mu.Lock()
	if r.record.first.IsZero() && len(b) > 0 {
		r.record.first = time.Now()
	}
	r.log.mu.Unlock()
	r.take(&r.record.response, b)
}

// Went says where the request went, and why. What is said last counts.
func (r *Recording) Went(where, why string) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.record.went, r.record.why = where, why
	if (where == Debuggee || where == Copy) && r.record.delivered.IsZero() {
		r.record.delivered = time.Now()
	}
	r.changed()
}

// SeenAs says how the debuggee sees the request. What is said last counts.
func (r *Recording) SeenAs(peer netip.AddrPort, stream uint32) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.record.seen = Seen{peer, stream}
}

// End says that the request is over, in order when err is nil. Nothing is recorded after it.
func (r *Recording) End(err error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if !r.record.over.IsZero() {
		return
	}
	r.record.over = time.Now()
	if err != nil {
		r.record.failed = err.Error()
	}
	r.changed()
}

// changed tells of a change; the log's lock is held.
func (r *Recording) changed() {
	if !r.record.dropped {
		r.log.changed(r.record)
	}
}

func (r *Recording) take(p *part, b []byte) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.record.header.Protocol == wire.HTTP2 {
		r.takeFrames(p, b)
		return
	}
	whole := int64(len(p.kept)) == p.total
	p.total += int64(len(b))
	if !whole || r.record.dropped || !r.record.over.IsZero() {
		return
	}
	head := p.head
	if head == 0 {
		head = http1.MaxHead
	}
	n := l.room(min(len(b), max(0, head+l.opts.Body-len(p.kept))))
	before, known := cap(p.kept), p.head != 0
	p.kept = append(p.kept, b[:n]...)
	if !known && n > 0 {
		p.findHead(n)
		if p.head != 0 && len(p.kept) > p.head+l.opts.Body {
			p.kept = bytes.Clone(p.kept[:p.head+l.opts.Body])
		}
	}
	l.size += cap(p.kept) - before
	if !known && p.head != 0 {
		r.changed()
	}
}

// findHead looks for the head's end in the last n bytes. A head that is too long is none: all of it is body.
func (p *part) findHead(n int) {
	end := []byte("\r\n\r\n")
	from := max(0, len(p.kept)-n-len(end)+1)
	switch i := bytes.Index(p.kept[from:], end); {
	case i >= 0:
		p.head = from + i + len(end)
	case len(p.kept) >= http1.MaxHead:
		p.head = http1.MaxHead
	}
}
