package capture

import (
	"sync/atomic"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/reassembly"
	"go.uber.org/zap"
)

// connection is one that the tracker follows; it is the assembler's stream.
type connection struct {
	capture *Capture
	tuple   tuple
	hosts   gopacket.Flow
	// first is the sequence number of its SYN.
	first uint32
	// head is what came before it was decided whether to copy.
	head []byte
	// sieve picks what is copied, nil for all. weight is the memory of what it has not decided, deaf says that it picks nothing
	// more, and begun that there was a byte.
	sieve       Sieve
	weight      int
	deaf, begun bool
	// replica is nil until something is copied. With a sieve it may be over before the connection, and others may be beside it.
	replica *replica
	others  map[uint32]*replica
	// users are the connection, until it is over, and its copies.
	users atomic.Int32
	how   ending
	// forgetting: the tracker is making the assembler drop it; forgotten: the assembler has.
	forgetting, forgotten bool
}

// Accept is asked before a segment is assembled. The direction from target to client is not captured: it is heard only
// when the tracker makes the assembler forget the connection.
func (c *connection) Accept(tcp *layers.TCP, _ gopacket.CaptureInfo, dir reassembly.TCPFlowDirection, next reassembly.Sequence, start *bool, _ reassembly.AssemblerContext) bool {
	if !c.forgetting {
		return c.how == underWay
	}
	if dir == reassembly.TCPDirServerToClient {
		*start = true
	} else {
		// Only a reset at exactly the next byte counts (RFC 5961 §3.2).
		tcp.Seq = uint32(next)
	}
	return true
}

// ReassembledSG is handed bytes in order.
func (c *connection) ReassembledSG(sg reassembly.ScatterGather, ac reassembly.AssemblerContext) {
	dir, _, end, skip := sg.Info()
	if dir == reassembly.TCPDirServerToClient || c.how != underWay {
		return
	}
	if skip > 0 && !c.deaf {
		c.giveUp("gap")
		return
	}
	if n, _ := sg.Lengths(); n > 0 {
		c.take(sg.Fetch(n))
	}
	if !end || c.how != underWay {
		return
	}
	c.begin()
	if s, ok := ac.(*segment); ok && s.tcp.RST {
		c.finish(byRST)
		return
	}
	if c.sieve != nil && !c.deaf {
		c.sieve.End(c)
	}
	c.finish(byFIN)
}

// take adds bytes to the copy, or to what is known before there is one.
func (c *connection) take(b []byte) {
	if c.sieve != nil {
		c.sift(b)
		return
	}
	if c.replica == nil {
		// The assembler uses the memory of b again.
		c.head = append(c.head, b...)
		switch c.capture.opts.Judge(c.tuple.to.Port(), c.head) {
		case Undecided:
			return
		case LeaveOut:
			c.head, c.how = nil, leftOut
			return
		}
		c.begin()
		return
	}
	c.replica.add(b)
	c.capture.crowd()
}

// begin begins the copy with what is known. Without a byte there is none.
func (c *connection) begin() {
	if c.replica != nil || len(c.head) == 0 {
		return
	}
	head := c.head
	c.head = nil
	if c.replica = c.capture.copy(c, 0); c.replica == nil {
		c.giveUp("too many copies")
		return
	}
	c.replica.add(head)
	c.capture.crowd()
}

// ReassemblyComplete says that the assembler drops the connection.
func (c *connection) ReassemblyComplete(reassembly.AssemblerContext) bool {
	c.forgotten = true
	if c.how == underWay && !c.deaf && (c.replica != nil || len(c.head) > 0 || c.begun) {
		c.giveUp("idle")
	}
	c.finish(byFIN)
	return true
}

// giveUp ends the copy because it cannot be whole.
func (c *connection) giveUp(why string) {
	if c.how != underWay {
		return
	}
	c.how, c.head = givenUp, nil
	c.weigh(0)
	if c.replica != nil {
		c.replica.drop()
	}
	c.endOthers((*replica).drop)
	c.capture.lost(c.tuple, why)
	c.release()
}

func (c *connection) finish(how ending) {
	if c.how != underWay {
		return
	}
	c.how = how
	c.weigh(0)
	if c.replica != nil {
		c.replica.end(how)
	}
	c.endOthers(func(r *replica) { r.end(byRST) })
	c.release()
}

// lost counts a copy that was given up.
func (c *Capture) lost(id tuple, why string) {
	c.connections.Add(1)
	c.opts.Log.Debug("copy given up", zap.String("why", why), zap.Stringer("from", id.from), zap.Stringer("to", id.to))
}
