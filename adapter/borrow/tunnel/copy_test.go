package tunnel

import (
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// TestCopiesOfTheTimeOfAStopAreRecorded : whole, for a replay. The debuggee has the first request that begins when the debugger has gone on.
func TestCopiesOfTheTimeOfAStopAreRecorded(t *testing.T) {
	recorder := &tapes{}
	tn := &Tunnel{Recorder: recorder}
	a := connect(t, tn, served(t, various))
	tn.SetPaused(true)
	first, second, third := get("/1"), post("/2", strings.Repeat("x", 100_000)), get("/3")
	stream, err := a.Open(t.Context(), incoming(wire.KindCopy), []byte(first+second[:50_000]))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the second is being recorded", func() bool { return len(recorder.all()) == 2 })
	tn.SetPaused(false)
	if _, err := io.WriteString(stream, second[50_000:]+third); err != nil {
		t.Fatal(err)
	}
	_ = stream.CloseWrite()
	if answer, err := io.ReadAll(stream); err != nil || len(answer) > 0 {
		t.Errorf("a copy was answered %q: %v", answer, err)
	}
	testkit.Eventually(t, "all is recorded", func() bool {
		all := recorder.all()
		return len(all) == 3 && !slices.ContainsFunc(all, func(p *tape) bool { return !p.done() })
	})
	all := recorder.all()
	for i, want := range []struct{ request, went string }{
		{first, "target: the debugger is stopped"}, {second, "target: the debugger is stopped"}, {third, "copy: the target answered its client"},
	} {
		p := all[i]
		if string(p.request) != want.request || strings.Join(p.went, " ") != want.went || p.err != nil {
			t.Errorf("%d: %.40q of %d bytes went %q, ended: %v", i, p.request, len(p.request), p.went, p.err)
		}
		if answered := len(p.response) > 0; answered != strings.HasPrefix(want.went, "copy") {
			t.Errorf("%d: answered %q", i, p.response)
		}
	}
}

// TestACopyOfTheTimeOfAStopEnds : when it cannot be read, with its client, or when nobody listens once the debugger goes on.
func TestACopyOfTheTimeOfAStopEnds(t *testing.T) {
	for name, c := range map[string]struct {
		sent  string
		goOn  bool
		reset bool
		want  int
	}{
		"no HTTP":        {"\x00\x01\x02", false, true, 0},
		"with a request": {get("/1"), false, false, 1},
		"in a request":   {post("/1", "abc")[:20], false, false, 0},
		"nobody listens": {get("/1") + get("/2"), true, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			recorder := &tapes{}
			tn := &Tunnel{Recorder: recorder}
			a := connect(t, tn, &debuggee{addr: "127.0.0.1:1"})
			tn.SetPaused(true)
			stream, err := a.Open(t.Context(), incoming(wire.KindCopy), nil)
			if err != nil {
				t.Fatal(err)
			}
			tn.SetPaused(!c.goOn)
			_, _ = io.WriteString(stream, c.sent)
			if !c.reset {
				_ = stream.CloseWrite()
			}
			if _, err := io.ReadAll(stream); errors.Is(err, syscall.ECONNRESET) != c.reset {
				t.Errorf("it ended with %v", err)
			}
			_ = stream.Close()
			if n := len(recorder.all()); n != c.want {
				t.Errorf("%d requests, want %d", n, c.want)
			}
			for _, p := range recorder.all() {
				testkit.Eventually(t, "its record ends", p.done)
			}
		})
	}
}
