package mux

import (
	"slices"
	"testing"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

func TestOpeningTakesOneWriteEachWay(t *testing.T) {
	a, b := testkit.Pair(t)
	asked, answered := make(chan []byte, 100), make(chan []byte, 100)
	adapter, agent := sessions(t, oneWrite{a, asked}, oneWrite{b, answered}, Options{}, Options{})
	serve(t, agent, echo)
	// The greeting and the stream of signals are out by now.
	for len(asked) > 0 {
		<-asked
	}
	for len(answered) > 0 {
		<-answered
	}
	st := mustOpen(t, adapter, []byte("first"))
	for name, test := range map[string]struct {
		writes chan []byte
		flags  uint16
	}{"header": {asked, flagSYN}, "answer": {answered, flagACK}} {
		var of []uint16
		for len(test.writes) > 0 {
			if h := frame((<-test.writes)[:frameSize]); h.stream() == st.StreamID() {
				of = append(of, h.flags())
			}
		}
		if len(of) == 0 || of[0] != test.flags || slices.Contains(of[1:], test.flags) {
			t.Errorf("%s: frames with flags %v, want %d on the first alone", name, of, test.flags)
		}
		if name == "header" && len(of) != 1 {
			t.Errorf("header: %d writes, want 1", len(of))
		}
	}
	_ = st.Close()
	gone(t, adapter, agent)
}

// TestResetReachesAStreamWhoseOpeningIsHeld gives up between the opening and the header.
func TestResetReachesAStreamWhoseOpeningIsHeld(t *testing.T) {
	adapter, agent := linked(t, 0, Options{})
	serve(t, agent, func(st *Stream) { t.Errorf("served %v of a stream that was reset", st.Header) })
	ys, err := adapter.ym.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	st := adapter.track(ys)
	st.Header = wire.Header{Kind: wire.KindDial}
	st.Reset()
	gone(t, adapter, agent)
}
