package mux

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

// past is a deadline that ends every blocked call of a stream.
var past = time.Unix(1, 0)

// Signals of the session itself, five bytes each: what and a number, big endian.
const (
	signalReset byte = 1 // of the stream with this id
	signalBeat  byte = 2 // still here; the number counts
)

// signals is the session's own stream. The adapter's side opens it before anything else: yamux has no reset, and a
// heartbeat of ours can tell a silent link from a busy one.
type signals struct {
	*yamux.Stream
	// queue decouples senders from a link that stalls; Reset must never block.
	queue chan signal
	heard chan struct{}
}

// signal is what is sent, and what to do once it is.
type signal struct {
	text [5]byte
	sent func()
}

func startSignals(ym *yamux.Session, side Side) (*signals, error) {
	open := ym.AcceptStream
	if side == AdapterSide {
		open = ym.OpenStream
	}
	ys, err := open()
	if err != nil {
		return nil, fmt.Errorf("start link: %w", err)
	}
	return &signals{Stream: ys, queue: make(chan signal, 4096), heard: make(chan struct{}, 1)}, nil
}

func (g *signals) send(what byte, n uint32, sent func()) {
	s := signal{text: [5]byte{what}, sent: sent}
	binary.BigEndian.PutUint32(s.text[1:], n)
	select {
	case g.queue <- s:
	default:
		// A link that took none of 4096 signals is stalled and about to be found silent; yamux's own end follows.
		sent()
	}
}

// sendReset closes st behind the signal: an end that overtook it would be taken for one that was meant.
func (g *signals) sendReset(st *Stream) {
	g.send(signalReset, st.StreamID(), func() { _ = st.Stream.Close() })
}

// readSignals returns why the other end's signals ended.
func (s *Session) readSignals() error {
	var b [5]byte
	for {
		if _, err := io.ReadFull(s.signals.Stream, b[:]); err != nil {
			return err
		}
		select {
		case s.signals.heard <- struct{}{}:
		default:
		}
		if b[0] != signalReset {
			continue
		}
		s.mu.Lock()
		st := s.streams[binary.BigEndian.Uint32(b[1:])]
		s.mu.Unlock()
		if st != nil && st.drop() {
			_ = st.Stream.Close()
		}
	}
}

// beat writes signals and heartbeats, and ends the session when nothing was heard for three intervals.
func (s *Session) beat() {
	tick := time.NewTicker(s.opts.Heartbeat)
	defer tick.Stop()
	var count uint32
	silent := 0
	for {
		select {
		case <-s.ym.CloseChan():
			return
		case sig := <-s.signals.queue:
			if _, err := s.signals.Write(sig.text[:]); err != nil {
				s.end(err)
				return
			}
			sig.sent()
		case <-s.signals.heard:
			silent = 0
		case <-tick.C:
			count++
			if silent++; silent > 3 {
				s.end(ErrSilent)
				return
			}
			s.signals.send(signalBeat, count, func() {})
		}
	}
}
