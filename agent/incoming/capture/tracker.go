package capture

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/reassembly"
)

const (
	// gapPatience is how long a gap may wait for its retransmission.
	gapPatience = 5 * time.Second
	// idlePatience is how long a silent connection is followed: its end may have been missed.
	idlePatience = 2 * time.Hour
	// crowdPatience is the same while as many connections are followed as may be.
	crowdPatience = 10 * time.Second
	// pageMemory is about what the assembler takes for a page of bytes out of order.
	pageMemory = 2 << 10
	// maxLeftOut bounds the memory of connections that are left out.
	maxLeftOut = 8192
)

// tracker follows connections from their packets. Only the reader's goroutine uses it.
type tracker struct {
	capture *Capture
	asm     *reassembly.Assembler
	open    map[tuple]*connection
	// leftOut are connections no longer followed or never: of each, more segments may come, and it is counted once.
	leftOut map[tuple]struct{}
	crowded time.Time
	// lossy is when drops of the kernel were noticed, zero when that has been dealt with.
	lossy   time.Time
	segment segment
	// starting is the connection whose segment is with the assembler.
	starting *connection
}

func newTracker(c *Capture) *tracker {
	t := &tracker{capture: c, open: map[tuple]*connection{}, leftOut: map[tuple]struct{}{}}
	t.asm = reassembly.NewAssembler(reassembly.NewStreamPool(t))
	t.asm.MaxBufferedPagesTotal = c.opts.Memory / 4 / pageMemory
	t.asm.MaxBufferedPagesPerConnection = c.opts.Memory / 8 / pageMemory
	return t
}

// New hands the assembler the stream of the connection whose SYN it got.
func (t *tracker) New(_, _ gopacket.Flow, _ *layers.TCP, _ reassembly.AssemblerContext) reassembly.Stream {
	return t.starting
}

// packet takes one packet in.
func (t *tracker) packet(p packet, now time.Time) {
	s := &t.segment
	if !s.decode(p, now) {
		return
	}
	c := t.open[s.tuple]
	if s.opens() {
		c = t.begin(c)
	}
	if c == nil {
		t.pass()
		return
	}
	if !p.whole {
		c.giveUp("packet cut short")
	}
	if s.tcp.RST {
		// What it carries is no data (RFC 9293 §3.5.3).
		s.tcp.Payload = nil
	}
	t.starting = c
	t.asm.AssembleWithContext(s.hosts, &s.tcp, s)
	t.settle(c)
}

// begin returns the connection that the SYN belongs to, nil when there is no room for it. old is the one of that name.
func (t *tracker) begin(old *connection) *connection {
	s := &t.segment
	if old != nil {
		if old.first == s.tcp.Seq {
			return old
		}
		// The name is used again: the old connection's end was missed, or its client crashed.
		old.finish(byRST)
		t.settle(old)
	}
	limit := t.capture.opts.Connections
	if len(t.open) >= limit && s.seen.Sub(t.crowded) > time.Second {
		t.crowded = s.seen
		t.flush(s.seen, crowdPatience)
	}
	if len(t.open) >= limit {
		t.capture.connections.Add(1)
		t.leaveOut(s.tuple)
		return nil
	}
	delete(t.leftOut, s.tuple)
	c := &connection{capture: t.capture, tuple: s.tuple, hosts: s.hosts, first: s.tcp.Seq}
	c.sieve = t.capture.opts.Sieve(s.tuple.to.Port())
	c.users.Store(1)
	t.open[s.tuple] = c
	return c
}

// pass looks at a segment of a connection that is not followed.
func (t *tracker) pass() {
	s := &t.segment
	_, known := t.leftOut[s.tuple]
	switch {
	case s.tcp.RST || s.tcp.FIN:
		delete(t.leftOut, s.tuple)
	case !known && !s.tcp.SYN && len(s.tcp.Payload) > 0:
		// The last acknowledgement of a connection that was forgotten carries nothing.
		t.capture.older.Add(1)
		t.capture.opts.Older(s.tuple.to.Port())
		t.leaveOut(s.tuple)
	}
}

func (t *tracker) leaveOut(id tuple) {
	if len(t.leftOut) >= maxLeftOut {
		clear(t.leftOut)
	}
	t.leftOut[id] = struct{}{}
}

// settle forgets c when it is over.
func (t *tracker) settle(c *connection) {
	if c.how == underWay && c.sieve == nil && c.replica != nil && c.replica.over() {
		c.how = givenUp
	}
	if c.how == underWay || t.open[c.tuple] != c {
		return
	}
	delete(t.open, c.tuple)
	t.leaveOut(c.tuple)
	if !c.forgotten {
		t.forget(c)
	}
}

// forget makes the assembler drop c. It does so after an end of both directions, so it is given both.
func (t *tracker) forget(c *connection) {
	from, to := c.tuple.from.Port(), c.tuple.to.Port()
	now := segment{seen: time.Now()}
	c.forgetting = true
	end := bareReset(from, to)
	t.asm.AssembleWithContext(c.hosts, &end, &now)
	end = bareReset(to, from)
	t.asm.AssembleWithContext(c.hosts.Reverse(), &end, &now)
}

func bareReset(from, to uint16) layers.TCP {
	var b [20]byte
	binary.BigEndian.PutUint16(b[0:], from)
	binary.BigEndian.PutUint16(b[2:], to)
	b[12], b[13] = 5<<4, 1<<2
	var tcp layers.TCP
	if err := tcp.DecodeFromBytes(b[:], gopacket.NilDecodeFeedback); err != nil {
		panic("a TCP header of 20 bytes decodes: " + err.Error())
	}
	return tcp
}

// sweep ends what waits too long. lossy says that the kernel dropped packets since the last sweep.
func (t *tracker) sweep(now time.Time, lossy bool) {
	idle := idlePatience
	if !t.lossy.IsZero() && now.Sub(t.lossy) > gapPatience {
		// A connection that was silent since then may have lost its end, and nothing later shows the gap.
		idle, t.lossy = now.Sub(t.lossy), time.Time{}
	}
	if lossy && t.lossy.IsZero() {
		t.lossy = now
	}
	t.flush(now, idle)
}

// flush ends gaps that were not filled, and connections that were silent for idle or whose port is not watched.
func (t *tracker) flush(now time.Time, idle time.Duration) {
	t.asm.FlushWithOptions(reassembly.FlushOptions{T: now.Add(-gapPatience), TC: now.Add(-idle)})
	ports := *t.capture.ports.Load()
	for _, c := range t.open {
		if !slices.ContainsFunc(ports, func(p Port) bool { return p.Number == c.tuple.to.Port() }) {
			c.finish(byRST)
		}
		c.prune()
		t.settle(c)
	}
}

// end ends what is followed still.
func (t *tracker) end() {
	for _, c := range t.open {
		c.finish(byRST)
	}
}
