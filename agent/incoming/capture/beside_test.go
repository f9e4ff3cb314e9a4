package capture

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
)

// besides is a connection whose client sends lines to a sieve of them.
type besides struct {
	*testing.T
	got sinks
	tr  *tracker
	w   wire
	at  int
	of  *connection
}

func beside(t *testing.T, opts Options) *besides {
	b := &besides{T: t, w: wire{t, client(1000)}}
	b.tr = tracked(t, b.got.deliver, sieved(opts))
	b.tr.packet(b.w.syn(), time.Now())
	b.of = b.tr.open[b.tr.segment.tuple]
	return b
}

func (b *besides) send(text string) {
	b.tr.packet(b.w.packet(b.at, []byte(text), nil), time.Now())
	b.at += len(text)
}

// closed says whether the sieve is.
func (b *besides) closed() bool {
	select {
	case <-b.of.sieve.(*lines).closed:
		return true
	default:
		return false
	}
}

// become waits until the copies are these: "1:a|b fin".
func (b *besides) become(want ...string) {
	b.Helper()
	testkit.Eventually(b.T, fmt.Sprintf("copies %q", want), func() bool {
		var all []string
		for _, k := range b.got.snapshot() {
			text := fmt.Sprintf("%d:%s", k.copy, k.bytes())
			if fin, reset := k.state(); reset {
				text += " reset"
			} else if fin {
				text += " fin"
			}
			all = append(all, text)
		}
		return sameLines(all, want)
	})
}

func sameLines(got, want []string) bool {
	if len(got) != len(want) {
		return false
	}
	all := "\n" + strings.Join(got, "\n") + "\n"
	for _, w := range want {
		if !strings.Contains(all, "\n"+w+"\n") {
			return false
		}
	}
	return true
}

func TestCopiesBesideEachOther(t *testing.T) {
	b := beside(t, Options{})
	b.send("1+a\n2+b\n+own\n1c\n3d\n2=\n")
	b.become("1:ac", "2:b", "0:+own\n")
	if b.closed() {
		t.Error("the sieve is closed before the connection")
	}
	// Whoever reads a whole copy ends it; the others go on.
	for _, k := range b.got.snapshot() {
		if k.copy == 2 {
			_ = k.Close()
		}
	}
	b.become("1:ac", "2:b fin", "0:+own\n")
	b.send("1d\n2-\n")
	b.become("1:acd", "2:b fin", "0:+own\n")
	b.send("1-\n1e\n3+f\n3=\n")
	b.become("1:acd reset", "2:b fin", "0:+own\n", "3:f")
	// The connection's end is that of what is whole.
	b.tr.packet(b.w.fin(b.at), time.Now())
	b.become("1:acd reset", "2:b fin", "0:+own\n fin", "3:f fin")
	testkit.Eventually(t, "sieve closed, memory given back", func() bool { return b.closed() && b.tr.capture.held.Load() == 0 })
	if s := b.tr.capture.Stats(); s.Connections != 0 || s.Copied != 4 || len(b.tr.open) != 0 {
		t.Errorf("%+v, %d followed", s, len(b.tr.open))
	}
}

func TestWholeCopiesOutliveAWholeThatIsCancelled(t *testing.T) {
	b := beside(t, Options{})
	b.send("1+a\n1=\n2+b\n2=\n")
	b.become("1:a", "2:b")
	b.send("1z\n1-\n")
	b.become("1:az reset", "2:b")
}

func TestCopiesThatAreNotWholeAreResetWithTheConnection(t *testing.T) {
	for name, end := range map[string]struct {
		end  func(b *besides)
		lost uint64
	}{
		"FIN":  {func(b *besides) { b.tr.packet(b.w.fin(b.at), time.Now()) }, 0},
		"RST":  {func(b *besides) { b.tr.packet(b.w.rst(b.at), time.Now()) }, 0},
		"torn": {func(b *besides) { b.send("?\n") }, 0},
		"gap": {func(b *besides) {
			b.tr.packet(b.w.packet(b.at+100, []byte("1c\n"), nil), time.Now())
			b.tr.sweep(time.Now().Add(gapPatience+time.Second), false)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := beside(t, Options{})
			b.send("1+a\n2+b\n2=\n")
			b.become("1:a", "2:b")
			end.end(b)
			b.become("1:a reset", "2:b fin")
			testkit.Eventually(t, "sieve closed", b.closed)
			if s := b.tr.capture.Stats(); s.Connections != end.lost || len(b.tr.open) != 0 {
				t.Errorf("%+v, %d followed", s, len(b.tr.open))
			}
		})
	}
}

func TestALostCopyIsCountedAndTheOthersGoOn(t *testing.T) {
	b := beside(t, Options{Connections: 8})
	b.send("1+a\n2+b\n")
	b.become("1:a", "2:b")
	b.send("1!\n1c\n2d\n3+e\n")
	b.become("1:a reset", "2:bd", "3:e")
	if n := b.tr.capture.Stats().Connections; n != 1 {
		t.Errorf("%d lost", n)
	}
}

func TestCopiesOfAConnectionAreBounded(t *testing.T) {
	b := beside(t, Options{Connections: 2 * share})
	b.send("1+a\n2+b\n3+c\n")
	b.become("1:a", "2:b")
	if n := b.tr.capture.Stats().Connections; n != 1 {
		t.Errorf("%d lost", n)
	}
	// One that is over makes room, and one that found none is not begun late.
	_ = b.got.snapshot()[0].Close()
	testkit.Eventually(t, "a copy over", func() bool {
		b.tr.capture.mu.Lock()
		defer b.tr.capture.mu.Unlock()
		return len(b.tr.capture.live) == 1
	})
	b.send("3d\n3+e\n")
	testkit.Eventually(t, "another copied", func() bool { all := b.got.snapshot(); return len(all) == 3 && string(all[2].bytes()) == "e" })
	if b.tr.sweep(time.Now(), false); len(b.of.others) != 2 {
		t.Errorf("%d copies are known", len(b.of.others))
	}
}

func TestACopyThatIsNotReadStopsNoOther(t *testing.T) {
	b := beside(t, Options{Memory: 256 << 10})
	var got sinks
	b.tr = tracked(t, func(ctx context.Context, o Origin) (splice.Conn, error) {
		k, err := got.deliver(ctx, o)
		if o.Copy == 1 {
			return stuckConn{k.(*sink)}, err
		}
		return k, err
	}, sieved(Options{Memory: 256 << 10}))
	b.tr.packet(b.w.syn(), time.Now())
	line := strings.Repeat("x", 1000) + "\n"
	b.send("1+a\n")
	b.send("2+b\n")
	sent := 0
	for ; b.tr.capture.Stats().Connections == 0 && sent < 1000; sent++ {
		b.send("1" + line)
	}
	if sent > 400 {
		t.Errorf("%d KB were kept for a copy that is not read", sent)
	}
	b.send("2c\n1d\n")
	testkit.Eventually(t, "the other goes on", func() bool {
		for _, k := range got.snapshot() {
			if k.copy == 2 {
				return string(k.bytes()) == "bc"
			}
		}
		return false
	})
	if len(b.tr.open) != 1 {
		t.Error("the connection was given up")
	}
}
