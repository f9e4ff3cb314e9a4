package mux

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	"go.uber.org/zap"
)

// past is a deadline that ends every blocked call of a stream.
var past = time.Unix(1, 0)

// Signals of the session itself, five bytes each: what and a number, big endian.
const (
	signalSize = 5
	// signalStream is the id of their stream, the first that the adapter's side opens.
	signalStream = 1

	signalReset byte = 1 // of the stream with this id
	signalBeat  byte = 2 // still here; the number counts
)

// missed is how many heartbeat intervals may pass without a frame.
const missed = 3

// signals is the session's own stream. The adapter's side opens it before anything else: yamux has no reset, and a
// heartbeat of ours can tell a silent link from a busy one.
type signals struct {
	*yamux.Stream
	// wake has room for one: something is to be sent. Nothing that adds to it ever blocks, however the link stalls.
	wake chan struct{}

	mu      sync.Mutex
	text    []byte
	dropped []*Stream
	evicted []eviction
}

// eviction is a stream that the budget wants reset.
type eviction struct {
	id     uint32
	unread int
}

// open opens the stream or awaits it until ctx ends.
func (g *signals) open(ctx context.Context, ym *yamux.Session, side Side) (err error) {
	if side == AdapterSide {
		g.Stream, err = ym.OpenStream()
	} else {
		g.Stream, err = ym.AcceptStreamWithContext(ctx)
	}
	return err
}

func (g *signals) notify() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// add queues a signal. The caller holds mu.
func (g *signals) add(what byte, n uint32) {
	g.text = binary.BigEndian.AppendUint32(append(g.text, what), n)
	g.notify()
}

// beat queues a heartbeat, unless something else waits to be sent: that says as much.
func (g *signals) beat(count uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.text) == 0 {
		g.add(signalBeat, count)
	}
}

// end queues what is left to do for a stream that was dropped: the reset, when tell says that the other end does not know,
// and then its end. An end that overtook the reset would be taken for one that was meant.
func (g *signals) end(st *Stream, tell bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if tell {
		g.add(signalReset, st.StreamID())
	}
	g.dropped = append(g.dropped, st)
	g.notify()
}

func (g *signals) evict(id uint32, unread int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.evicted = append(g.evicted, eviction{id, unread})
	g.notify()
}

// take returns what waits.
func (g *signals) take() (text []byte, dropped []*Stream, evicted []eviction) {
	g.mu.Lock()
	defer g.mu.Unlock()
	text, dropped, evicted = g.text, g.dropped, g.evicted
	g.text, g.dropped, g.evicted = nil, nil, nil
	return text, dropped, evicted
}

// hear takes a signal of the other end. Yamux's reader calls it.
func (s *Session) hear(what byte, n uint32) {
	if what == signalReset {
		s.resetByPeer(n)
	}
}

func (s *Session) resetByPeer(id uint32) {
	s.mu.Lock()
	st := s.streams[id]
	if st == nil {
		s.budget.noteReset(id)
	}
	s.mu.Unlock()
	if st != nil {
		st.dropByPeer()
	}
}

// tend writes signals and grants and ends dropped streams, until the session ends. It alone waits for a link that stalls.
func (s *Session) tend() error {
	for {
		select {
		case <-s.ym.CloseChan():
			return nil
		case <-s.signals.wake:
		}
		if err := s.link.grant(); err != nil {
			return err
		}
		text, dropped, evicted := s.signals.take()
		if len(text) > 0 {
			if _, err := s.signals.Write(text); err != nil {
				return err
			}
		}
		for _, st := range dropped {
			st.bury()
		}
		for _, e := range evicted {
			s.evict(e)
		}
	}
}

// evict resets the stream that the budget chose.
func (s *Session) evict(e eviction) {
	s.opts.Log.Warn("stream reset: too much of it is unread", zap.Uint32("stream", e.id), zap.Int("unread", e.unread))
	s.mu.Lock()
	st := s.streams[e.id]
	s.mu.Unlock()
	if st != nil {
		st.Reset()
	}
}

// watch has heartbeats sent and ends the session when nothing was heard for too long.
func (s *Session) watch() error {
	tick := time.NewTicker(s.opts.Heartbeat)
	defer tick.Stop()
	var count uint32
	var heard uint64
	silent := 0
	for {
		select {
		case <-s.ym.CloseChan():
			return nil
		case <-tick.C:
		}
		if now := s.link.frames.Load(); now != heard {
			heard, silent = now, 0
		} else if silent++; silent > missed {
			return ErrSilent
		}
		count++
		s.signals.beat(count)
		s.shrink()
	}
}

// shrink frees the buffers that streams kept from busier times.
func (s *Session) shrink() {
	s.mu.Lock()
	streams := slices.Collect(maps.Values(s.streams))
	s.mu.Unlock()
	for _, st := range streams {
		st.Shrink()
	}
}
