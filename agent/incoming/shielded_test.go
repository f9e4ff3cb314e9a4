//go:build linux

package incoming

import (
	"io"
	"strings"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

const probe = "GET /healthz HTTP/1.1\r\nHost: pod\r\nUser-Agent: kube-probe/1.37\r\nConnection: close\r\n\r\n"

func (f *farEnd) subscribe(t *testing.T, p wire.SubscribeParams) {
	t.Helper()
	if _, err := f.Subscribe(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// TestProbesReachTheTargetWithoutBeingOffered has an adapter that never answers, as behind a dead link.
func TestProbesReachTheTargetWithoutBeingOffered(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, testpod.Pod4+":80")
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) { _, _ = io.Copy(io.Discard, st) })
	f.subscribe(t, wire.SubscribeParams{Port: 80, Mode: wire.ModeSteal, Probes: []string{"/healthz"}})
	for name, pieces := range map[string][]string{
		"whole":           {probe},
		"split":           {probe[:9], probe[9:20], probe[20:]},
		"byte by byte":    strings.Split(probe, ""),
		"HTTP/1.0":        {strings.Replace(probe, "1.1", "1.0", 1)},
		"other name case": {strings.Replace(probe, "User-Agent", "user-agent", 1)},
	} {
		c := dial(t, client, testpod.Pod4+":80")
		for _, p := range pieces {
			if _, err := io.WriteString(c, p); err != nil {
				t.Fatal(err)
			}
		}
		answer := make([]byte, 256)
		if n, err := c.Read(answer); err != nil || !strings.HasPrefix(string(answer[:n]), "target saw "+testpod.Client4+"\n") {
			t.Errorf("%s: %q, %v", name, answer[:n], err)
		}
		_ = c.Close()
	}
	if n := len(f.seen()); n != 0 {
		t.Errorf("%d of 5 probes were offered", n)
	}
	f.freed(t)
}

func TestAllButProbesIsOfferedWhole(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(echo)
	f.subscribe(t, wire.SubscribeParams{Port: 80, Mode: wire.ModeSteal, Probes: []string{"/healthz"}})
	for name, text := range map[string]string{
		"HEAD":           strings.Replace(probe, "GET", "HEAD", 1),
		"another path":   strings.Replace(probe, "/healthz", "/healthz2", 1),
		"another agent":  strings.Replace(probe, "kube-probe", "curl", 1),
		"no HTTP":        "\x16\x03\x01 hello",
		"nothing":        "",
		"unfinished":     probe[:30],
		"a long body":    "POST /healthz HTTP/1.1\r\n\r\n" + strings.Repeat("x", 300_000),
		"a long head":    "GET /healthz HTTP/1.1\r\nX: " + strings.Repeat("x", 300_000),
		"many fields":    "GET /healthz HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 30_000),
		"probe, not 1st": strings.Replace(probe, "kube-probe", "curl", 1) + probe,
	} {
		c := dial(t, client, testpod.Pod4+":80")
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(c, text)
			_ = c.CloseWrite()
			sent <- err
		}()
		got, err := io.ReadAll(c)
		if werr := <-sent; err != nil || werr != nil || string(got) != text {
			t.Errorf("%s: %d bytes came back of %d, %v, %v", name, len(got), len(text), err, werr)
		}
		_ = c.Close()
	}
	f.freed(t)
}

func TestServerThatSpeaksFirstIsReachedDespiteProbes(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		_, _ = io.WriteString(st, "hello\n")
		chat(st)
	})
	f.subscribe(t, wire.SubscribeParams{Port: 80, Mode: wire.ModeSteal, Probes: []string{"/"}})
	began := time.Now()
	c := dial(t, client, testpod.Pod4+":80")
	if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d < headPatience-10*time.Millisecond || d > headPatience+5*time.Second {
		t.Errorf("spoken to after %s", d)
	}
}

func TestProbesAreNotMirrored(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, testpod.Pod4+":80")
	f := startFarEnd(t, Options{})
	copies := f.copies()
	f.subscribe(t, wire.SubscribeParams{Port: 80, Mode: wire.ModeMirror, Probes: []string{"/healthz"}})
	other := strings.Replace(probe, "/healthz", "/cart", 1)
	for _, text := range []string{probe, other} {
		c := dial(t, client, testpod.Pod4+":80")
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 64)); err != nil {
			t.Errorf("target: %v", err)
		}
		_ = c.Close()
	}
	if got := <-copies; got.text != other {
		t.Errorf("copied %q", got.text)
	}
	testkit.Eventually(t, "one copy", func() bool { return len(f.seen()) == 1 })
}
