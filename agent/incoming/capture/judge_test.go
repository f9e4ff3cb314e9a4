package capture

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// noTicks leaves out connections that begin with "tick:".
func noTicks(_ uint16, head []byte) Verdict {
	switch known := string(head[:min(len(head), 5)]); {
	case known == "tick:":
		return LeaveOut
	case strings.HasPrefix("tick:", known):
		return Undecided
	default:
		return Copy
	}
}

func TestJudgeDecidesWhatIsCopied(t *testing.T) {
	w := wire{t, client(1000)}
	for name, test := range map[string]struct {
		pieces []string
		want   string
	}{
		"left out":               {[]string{"tick: 1"}, ""},
		"left out, in pieces":    {[]string{"t", "ic", "k:", " 1"}, ""},
		"copied":                 {[]string{"talk"}, "talk"},
		"copied, in pieces":      {[]string{"t", "i", "ckling", "!"}, "tickling!"},
		"ends before a verdict":  {[]string{"ti"}, "ti"},
		"ends without a byte":    {nil, ""},
		"large, and in one part": {[]string{strings.Repeat("x", 1400)}, strings.Repeat("x", 1400)},
	} {
		t.Run(name, func(t *testing.T) {
			var got sinks
			tr := tracked(t, got.deliver, Options{Judge: noTicks})
			at := 0
			tr.packet(w.syn(), time.Now())
			for _, p := range test.pieces {
				tr.packet(w.packet(at, []byte(p), nil), time.Now())
				at += len(p)
			}
			tr.packet(w.fin(at), time.Now())
			if len(tr.open) != 0 || tr.capture.Stats().Connections != 0 {
				t.Errorf("%d followed still, %d lost", len(tr.open), tr.capture.Stats().Connections)
			}
			if test.want == "" {
				if n := len(got.snapshot()); n != 0 {
					t.Errorf("%d copies", n)
				}
				return
			}
			if k := got.ended(t, 1)[0]; string(k.bytes()) != test.want {
				t.Errorf("copied %q, want %q", k.bytes(), test.want)
			}
		})
	}
}

func TestLoopbackPortIsCopiedOnlyFromLoopback(t *testing.T) {
	far := outside(t)
	meshed, plain := discard(t, "tcp", "0.0.0.0:0").Port(), discard(t, "tcp", "0.0.0.0:0").Port()
	var got sinks
	startPorts(t, got.deliver, Options{}, Port{Number: meshed, Loopback: true}, Port{Number: plain})
	for _, port := range []uint16{meshed, plain} {
		to := netip.AddrPortFrom(netip.MustParseAddr(inner4), port)
		// Nobody answers.
		_ = far("curl", "-s", "--max-time", "0.3", "http://"+to.String()+"/outside").Run()
		c := dial(t, to)
		if _, err := c.Write([]byte("inside")); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	copied := map[uint16][]byte{}
	for _, k := range got.ended(t, 3) {
		copied[k.to.Port()] = append(copied[k.to.Port()], k.bytes()...)
	}
	if got := string(copied[meshed]); got != "inside" {
		t.Errorf("of the port on loopback %q was copied", got)
	}
	if got := copied[plain]; !bytes.Contains(got, []byte("inside")) || !bytes.Contains(got, []byte("/outside")) {
		t.Errorf("of the other port %q was copied", got)
	}
}
