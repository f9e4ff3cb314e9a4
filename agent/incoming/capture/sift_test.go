package capture

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
)

// lines is a sieve that copies lines with a plus. From one with a full stop on it copies nothing, and one with a question mark has
// torn what was copied. Digits name a copy beside the connection's own, which "1+a" begins, "1=" says to be whole, "1-" not to be wanted and
// "1!" to be lost; anything else is added.
type lines struct {
	held   []byte
	closed chan struct{}
}

func (l *lines) Close() { close(l.closed) }

func (l *lines) Held() int { return len(l.held) }

func (l *lines) Take(b []byte, out Copies) Sifted {
	l.held = append(l.held, b...)
	for {
		line, rest, whole := bytes.Cut(l.held, []byte("\n"))
		if !whole {
			return GoOn
		}
		l.held = rest
		switch line[0] {
		case '1', '2', '3':
			l.beside(uint32(line[0]-'0'), line[1:], out)
		case '+':
			out.Keep(0, append(line, '\n'), true)
		case '.':
			l.held = nil
			return Enough
		case '?':
			l.held = nil
			return Torn
		}
	}
}

func (l *lines) beside(id uint32, line []byte, out Copies) {
	switch line[0] {
	case '+':
		out.Keep(id, line[1:], true)
	case '=':
		out.End(id, nil)
	case '-':
		out.End(id, context.Canceled)
	case '!':
		out.End(id, errors.New("lost"))
	default:
		out.Keep(id, line, false)
	}
}

func (l *lines) End(out Copies) {
	if len(l.held) > 0 && l.held[0] == '+' {
		out.Keep(0, l.held, true)
	}
	l.held = nil
}

func sieved(opts Options) Options {
	opts.Sieve = func(uint16) Sieve { return &lines{closed: make(chan struct{})} }
	return opts
}

func TestSievePicksWhatIsCopied(t *testing.T) {
	w := wire{t, client(1000)}
	for name, test := range map[string]struct {
		text, want string
		reset      bool
	}{
		"nothing":                  {"-a\n-b\n", "", false},
		"some":                     {"-a\n+b\n-c\n+d\n-e", "+b\n+d\n", false},
		"the end":                  {"-a\n+b", "+b", false},
		"enough":                   {"+a\n.\n+b\n", "+a\n", false},
		"enough before the first":  {".\n+b\n", "", false},
		"torn":                     {"+a\n?\n+b\n", "+a\n", true},
		"more than one packet has": {"+" + strings.Repeat("a", 3000) + "\n-b\n", "+" + strings.Repeat("a", 3000) + "\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			var got sinks
			tr := tracked(t, got.deliver, sieved(Options{}))
			tr.packet(w.syn(), time.Now())
			at := 0
			for ; at < len(test.text); at += 2 {
				tr.packet(w.packet(at, []byte(test.text[at:min(at+2, len(test.text))]), nil), time.Now())
			}
			tr.packet(w.fin(len(test.text)), time.Now())
			if len(tr.open) != 0 || len(tr.capture.sieves) != 0 || tr.capture.Stats().Connections != 0 {
				t.Errorf("%d followed still, %d undecided, %d lost", len(tr.open), len(tr.capture.sieves), tr.capture.Stats().Connections)
			}
			if test.want == "" {
				if n := len(got.snapshot()); n != 0 || tr.capture.held.Load() != 0 {
					t.Errorf("%d copies, %d bytes held", n, tr.capture.held.Load())
				}
				return
			}
			k := got.ended(t, 1)[0]
			if _, reset := k.state(); string(k.bytes()) != test.want || reset != test.reset {
				t.Errorf("copied %q, reset: %v", k.bytes(), reset)
			}
			testkit.Eventually(t, "memory given back", func() bool { return tr.capture.held.Load() == 0 })
		})
	}
}

func TestCopyOutlivesWhatASieveIsDeafTo(t *testing.T) {
	var got sinks
	tr := tracked(t, got.deliver, sieved(Options{}))
	w := wire{t, client(1000)}
	now := time.Now()
	tr.packet(w.syn(), now)
	tr.packet(w.packet(0, []byte("+a\n.\n"), nil), now)
	tr.packet(w.packet(100, []byte("behind a gap"), nil), now)
	tr.sweep(now.Add(gapPatience+time.Second), false)
	if tr.capture.Stats().Connections != 0 || len(tr.open) != 1 {
		t.Errorf("%d lost, %d followed", tr.capture.Stats().Connections, len(tr.open))
	}
	testkit.Eventually(t, "request copied", func() bool { return len(got.snapshot()) == 1 && string(got.snapshot()[0].bytes()) == "+a\n" })
	if fin, reset := got.snapshot()[0].state(); fin || reset {
		t.Error("the copy is over before the connection")
	}
	tr.packet(w.fin(112), now)
	if fin, _ := got.ended(t, 1)[0].state(); !fin {
		t.Error("the copy did not end as the connection did")
	}
}

func TestSievedConnectionWithAGapIsGivenUp(t *testing.T) {
	var got sinks
	tr := tracked(t, got.deliver, sieved(Options{}))
	w := wire{t, client(1000)}
	now := time.Now()
	tr.packet(w.syn(), now)
	tr.packet(w.packet(0, []byte("-a\n"), nil), now)
	tr.packet(w.packet(10, []byte("+b\n"), nil), now)
	tr.sweep(now.Add(gapPatience+time.Second), false)
	if tr.capture.Stats().Connections != 1 || len(tr.open) != 0 || len(got.snapshot()) != 0 {
		t.Errorf("%d lost, %d followed, %d copies", tr.capture.Stats().Connections, len(tr.open), len(got.snapshot()))
	}
}

func TestUndecidedBytesAreWithinTheMemory(t *testing.T) {
	var got sinks
	const memory = 64 << 10
	tr := tracked(t, got.deliver, sieved(Options{Memory: memory}))
	greedy, modest := wire{t, client(1000)}, wire{t, client(1001)}
	tr.packet(greedy.syn(), time.Now())
	tr.packet(modest.syn(), time.Now())
	tr.packet(modest.packet(0, []byte("+a"), nil), time.Now())
	sent := 0
	for ; tr.capture.Stats().Connections == 0 && sent < 2*memory; sent += 1000 {
		tr.packet(greedy.packet(sent, bytes.Repeat([]byte("a"), 1000), nil), time.Now())
	}
	if sent > memory+2000 || len(tr.open) != 1 {
		t.Errorf("%d bytes were sent before one was given up, %d are followed", sent, len(tr.open))
	}
	tr.packet(modest.packet(2, []byte("\n"), nil), time.Now())
	tr.packet(modest.fin(3), time.Now())
	if k := got.ended(t, 1)[0]; string(k.bytes()) != "+a\n" {
		t.Errorf("copied %q", k.bytes())
	}
}

func TestRequestAfterTheReadersEndGoesToAnotherCopy(t *testing.T) {
	var got sinks
	refused := make(chan struct{}, 1)
	tr := tracked(t, func(ctx context.Context, o Origin) (splice.Conn, error) {
		select {
		case refused <- struct{}{}:
			return nil, context.DeadlineExceeded
		default:
			return got.deliver(ctx, o)
		}
	}, sieved(Options{}))
	w := wire{t, client(1000)}
	tr.packet(w.syn(), time.Now())
	at := 0
	for i, line := range []string{"+refused\n", "+a\n", "+b\n"} {
		tr.packet(w.packet(at, []byte(line), nil), time.Now())
		at += len(line)
		if i > 0 {
			testkit.Eventually(t, "request copied", func() bool { return len(got.snapshot()) == i && string(got.snapshot()[i-1].bytes()) == line })
			_ = got.snapshot()[i-1].Close()
		}
		testkit.Eventually(t, "copy over", func() bool {
			tr.capture.mu.Lock()
			defer tr.capture.mu.Unlock()
			return len(tr.capture.live) == 0
		})
	}
	if len(tr.open) != 1 || tr.capture.Stats().Connections != 0 {
		t.Errorf("%d followed, %d lost", len(tr.open), tr.capture.Stats().Connections)
	}
}
