package capture

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"go.uber.org/zap/zaptest"
	"pgregory.net/rapid"

	"podstep.dev/internal/testkit"
)

// wire makes the packets of one connection by hand. Sequence numbers begin near their wrap.
type wire struct {
	t    testing.TB
	from netip.AddrPort
}

const firstSeq = 0xffff_fff0

var server = netip.MustParseAddrPort("10.0.0.2:80")

// packet is bytes at offset from the first byte of the stream.
func (w wire) packet(offset int, data []byte, flags func(*layers.TCP)) packet {
	w.t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IP(w.from.Addr().AsSlice()), DstIP: net.IP(server.Addr().AsSlice())}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(w.from.Port()), DstPort: layers.TCPPort(server.Port()), Seq: firstSeq + 1 + uint32(offset), ACK: true, Window: 1000}
	if flags != nil {
		flags(tcp)
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		w.t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, tcp, gopacket.Payload(data)); err != nil {
		w.t.Fatal(err)
	}
	return packet{data: bytes.Clone(buf.Bytes()), whole: true}
}

func (w wire) syn() packet {
	return w.packet(-1, nil, func(tcp *layers.TCP) { tcp.SYN, tcp.ACK = true, false })
}

func (w wire) fin(offset int) packet {
	return w.packet(offset, nil, func(tcp *layers.TCP) { tcp.FIN = true })
}

func (w wire) rst(offset int) packet {
	return w.packet(offset, nil, func(tcp *layers.TCP) { tcp.RST = true })
}

// tracked is a tracker without a socket.
func tracked(t *testing.T, deliver Deliver, opts Options) *tracker {
	t.Helper()
	opts.Log = zaptest.NewLogger(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := &Capture{opts: opts.filled(), cancel: cancel, live: map[*replica]struct{}{}, sieves: map[*connection]struct{}{}}
	c.ports.Store(&[]Port{{Number: 80}})
	c.copy = func(of *connection, id uint32) *replica { return c.replicate(ctx, of, id, deliver) }
	t.Cleanup(func() { _ = c.Close() })
	return newTracker(c)
}

func client(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port)
}

func TestTrackerPutsBytesInOrder(t *testing.T) {
	text := []byte("GET /cart/42 HTTP/1.1\r\nHost: shop\r\n\r\n")
	w := wire{t, client(1000)}
	piece := func(from, to int) packet { return w.packet(from, text[from:to], nil) }
	rest := func(from int) packet { return piece(from, len(text)) }
	for name, packets := range map[string][]packet{
		"in order":                 {w.syn(), piece(0, 10), piece(10, 20), rest(20), w.fin(len(text))},
		"swapped":                  {w.syn(), piece(10, 20), piece(0, 10), rest(20), w.fin(len(text))},
		"backwards":                {w.syn(), w.fin(len(text)), rest(20), piece(10, 20), piece(0, 10)},
		"retransmitted":            {w.syn(), w.syn(), piece(0, 10), piece(0, 10), piece(10, 20), rest(20), rest(20), w.fin(len(text))},
		"overlapping":              {w.syn(), piece(0, 15), piece(5, 20), piece(12, 30), rest(20), w.fin(len(text))},
		"overlapping while queued": {w.syn(), piece(10, 25), piece(5, 30), rest(28), piece(0, 7), w.fin(len(text))},
		"data in SYN": {w.packet(-1, text[:10], func(tcp *layers.TCP) { tcp.SYN, tcp.ACK = true, false }),
			rest(10), w.fin(len(text))},
		"data in FIN":         {w.syn(), piece(0, 10), w.packet(10, text[10:], func(tcp *layers.TCP) { tcp.FIN = true })},
		"keep-alive probe":    {w.syn(), rest(0), w.packet(len(text)-1, []byte("x"), nil), w.fin(len(text))},
		"stray reset":         {w.syn(), piece(0, 10), w.rst(5), w.rst(15), rest(10), w.fin(len(text))},
		"second SYN":          {w.syn(), piece(0, 10), w.packet(-1, []byte("other"), func(tcp *layers.TCP) { tcp.SYN, tcp.ACK = true, false }), rest(10), w.fin(len(text))},
		"corrupt, then whole": {w.syn(), corrupt(piece(0, 10)), piece(0, 10), rest(10), w.fin(len(text))},
		"padded short frame":  {w.syn(), pad(piece(0, 2)), rest(2), w.fin(len(text))},
	} {
		t.Run(name, func(t *testing.T) {
			var got sinks
			tr := tracked(t, got.deliver, Options{})
			for _, p := range packets {
				tr.packet(p, time.Now())
			}
			k := got.ended(t, 1)[0]
			if string(k.bytes()) != string(text) {
				t.Errorf("copied %q, want %q", k.bytes(), text)
			}
			if fin, reset := k.state(); !fin || reset {
				t.Errorf("ended with fin=%v reset=%v, want a FIN", fin, reset)
			}
			if len(tr.open) != 0 || tr.capture.Stats().Connections != 0 {
				t.Errorf("%d connections open, %d given up, want none", len(tr.open), tr.capture.Stats().Connections)
			}
		})
	}
}

func corrupt(p packet) packet {
	p.data = bytes.Clone(p.data)
	p.data[len(p.data)-1] ^= 0x20
	return p
}

// pad is what Ethernet does to frames of less than 60 bytes.
func pad(p packet) packet {
	p.data = append(bytes.Clone(p.data), "padding"...)
	return p
}

func TestTrackerAnyOrderIsTheSameStream(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.SliceOfN(rapid.Byte(), 1, 5000).Draw(rt, "text")
		w := wire{t, client(1000)}
		packets := []packet{w.fin(len(text))}
		for at := 0; at < len(text); {
			n := rapid.IntRange(1, len(text)-at).Draw(rt, "size")
			back := rapid.IntRange(0, at).Draw(rt, "overlap")
			packets = append(packets, w.packet(at-back, text[at-back:at+n], nil))
			at += n
		}
		packets = rapid.Permutation(packets).Draw(rt, "order")
		var got sinks
		tr := tracked(t, got.deliver, Options{})
		tr.packet(w.syn(), time.Now())
		for _, p := range packets {
			tr.packet(p, time.Now())
		}
		if k := got.ended(t, 1)[0]; !bytes.Equal(k.bytes(), text) {
			rt.Fatalf("copied %d bytes, want %d", len(k.bytes()), len(text))
		}
		if len(tr.open) != 0 {
			rt.Fatal("connection still open")
		}
		_ = tr.capture.Close()
	})
}

func TestTrackerPassesReset(t *testing.T) {
	var got sinks
	tr := tracked(t, got.deliver, Options{})
	w := wire{t, client(1000)}
	for _, p := range []packet{w.syn(), w.packet(0, []byte("half a requ"), nil), w.rst(11)} {
		tr.packet(p, time.Now())
	}
	k := got.ended(t, 1)[0]
	if fin, reset := k.state(); fin || !reset || string(k.bytes()) != "half a requ" {
		t.Errorf("copied %q, fin=%v reset=%v, want the bytes and a reset", k.bytes(), fin, reset)
	}
	if lost := tr.capture.Stats().Connections; lost != 0 {
		t.Errorf("%d given up, want none", lost)
	}
}

func TestTrackerGivesUpAGap(t *testing.T) {
	var got sinks
	tr := tracked(t, got.deliver, Options{})
	w, now := wire{t, client(1000)}, time.Now()
	for _, p := range []packet{w.syn(), w.packet(0, []byte("0123"), nil), w.packet(8, []byte("89"), nil)} {
		tr.packet(p, now)
	}
	tr.sweep(now.Add(gapPatience-time.Second), false)
	if len(tr.open) != 1 {
		t.Fatal("gave up before the retransmission could come")
	}
	tr.sweep(now.Add(gapPatience+time.Second), false)
	k := got.ended(t, 1)[0]
	if _, reset := k.state(); !reset {
		t.Error("no reset at the gap")
	}
	tr.packet(w.packet(4, []byte("4567"), nil), now)
	if s := tr.capture.Stats(); s.Connections != 1 || s.Older != 0 || len(tr.open) != 0 {
		t.Errorf("stats %+v with %d open, want one given up", s, len(tr.open))
	}
}

func TestTrackerGivesUpWhatTheKernelCut(t *testing.T) {
	var got sinks
	tr := tracked(t, got.deliver, Options{})
	w := wire{t, client(1000)}
	cut := w.packet(4, []byte("4567"), nil)
	cut.whole = false
	for _, p := range []packet{w.syn(), w.packet(0, []byte("0123"), nil), cut} {
		tr.packet(p, time.Now())
	}
	if _, reset := got.ended(t, 1)[0].state(); !reset || tr.capture.Stats().Connections != 1 {
		t.Errorf("reset=%v stats %+v, want one given up", reset, tr.capture.Stats())
	}
}

func TestTrackerGivesUpSilentConnectionsAfterDrops(t *testing.T) {
	var got sinks
	tr := tracked(t, got.deliver, Options{})
	silent, busy, now := wire{t, client(1000)}, wire{t, client(1001)}, time.Now()
	for _, w := range []wire{silent, busy} {
		tr.packet(w.syn(), now)
		tr.packet(w.packet(0, []byte("0123"), nil), now)
	}
	tr.sweep(now.Add(time.Second), true)
	tr.packet(busy.packet(4, []byte("45"), nil), now.Add(3*time.Second))
	tr.sweep(now.Add(2*time.Second), false)
	if len(tr.open) != 2 {
		t.Fatal("gave up before the connection could go on")
	}
	tr.sweep(now.Add(8*time.Second), false)
	if len(tr.open) != 1 || tr.open[tuple{busy.from, server}] == nil {
		t.Errorf("%d open, want the busy one only", len(tr.open))
	}
}

func TestTrackerLeavesOlderConnectionsOut(t *testing.T) {
	var got sinks
	tr := tracked(t, got.deliver, Options{})
	w := wire{t, client(1000)}
	for _, p := range []packet{w.packet(0, []byte("old"), nil), w.packet(3, []byte("er"), nil), w.fin(5)} {
		tr.packet(p, time.Now())
	}
	if s := tr.capture.Stats(); s.Older != 1 || s.Copied != 0 || s.Connections != 0 {
		t.Errorf("stats %+v, want one older", s)
	}
}

func TestTrackerKeepsNameUsedAgainApart(t *testing.T) {
	var got sinks
	tr := tracked(t, got.deliver, Options{})
	w := wire{t, client(1000)}
	later := func(p packet) packet {
		// Another initial sequence number; the checksum is vouched for.
		p.data = bytes.Clone(p.data)
		p.data[20+4] ^= 0x40
		p.checked = true
		return p
	}
	for _, p := range []packet{
		w.syn(), w.packet(0, []byte("first"), nil), w.fin(5),
		later(w.syn()), later(w.packet(0, []byte("second"), nil)), // its end is missed
		w.syn(), w.packet(0, []byte("third"), nil), w.fin(5),
	} {
		tr.packet(p, time.Now())
	}
	var texts []string
	for _, k := range got.ended(t, 3) {
		texts = append(texts, string(k.bytes()))
	}
	slices.Sort(texts)
	if !slices.Equal(texts, []string{"first", "second", "third"}) {
		t.Errorf("copied %q", texts)
	}
}

func TestTrackerBoundsConnections(t *testing.T) {
	var got sinks
	tr := tracked(t, got.deliver, Options{Connections: 4})
	now := time.Now()
	for port := range uint16(10) {
		w := wire{t, client(1000 + port)}
		tr.packet(w.syn(), now)
		tr.packet(w.packet(0, []byte("hello"), nil), now)
	}
	if s := tr.capture.Stats(); len(tr.open) != 4 || s.Connections != 6 || s.Older != 0 {
		t.Fatalf("%d open, stats %+v, want 4 open and 6 given up", len(tr.open), s)
	}
	// Silent ones make room.
	now = now.Add(crowdPatience + time.Second)
	tr.packet(wire{t, client(2000)}.syn(), now)
	if tr.open[tuple{client(2000), server}] == nil || len(tr.open) != 1 {
		t.Errorf("%d open, want only the latest", len(tr.open))
	}
	testkit.Eventually(t, "copies ended", func() bool { _, size := tr.capture.largest(); return size == 0 })
}

func TestTrackerBoundsBytesOutOfOrder(t *testing.T) {
	var got sinks
	const memory = 1 << 20
	tr := tracked(t, got.deliver, Options{Memory: memory})
	w := wire{t, client(1000)}
	tr.packet(w.syn(), time.Now())
	tr.packet(w.packet(0, []byte("x"), nil), time.Now())
	segment := make([]byte, 1000)
	sent := 0
	for ; len(tr.open) == 1 && sent < memory; sent += len(segment) {
		tr.packet(w.packet(2+sent, segment, nil), time.Now())
	}
	// A page holds up to 1900 bytes here, so a full eighth of the memory in pages takes about half as many bytes.
	if sent > memory/8 || tr.capture.Stats().Connections != 1 {
		t.Errorf("kept %d bytes behind a gap, want at most %d and then one given up: %+v", sent, memory/8, tr.capture.Stats())
	}
}

func FuzzDecode(f *testing.F) {
	w := wire{f, client(1000)}
	f.Add(w.syn().data)
	f.Add(w.packet(0, []byte("hello"), nil).data)
	f.Add([]byte{0x60, 39: 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var s segment
		if !s.decode(packet{data: data, whole: true, checked: true}, time.Time{}) {
			return
		}
		if !s.tuple.from.IsValid() || !s.tuple.to.IsValid() || len(s.tcp.Payload) > len(data) {
			t.Errorf("decoded %+v", s.tuple)
		}
	})
}
