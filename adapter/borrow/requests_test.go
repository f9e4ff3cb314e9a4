package borrow

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/control"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/filter"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

func TestStolenPortsAreAskedForRequestByRequest(t *testing.T) {
	const filter = `{"path":"/a"}`
	for name, c := range map[string]struct {
		filter   string
		incoming func(*config.Incoming)
		want     wire.SubscribeParams
		pause    tunnel.Pause
	}{
		"steal":    {"", func(*config.Incoming) {}, wire.SubscribeParams{Mode: wire.ModeSteal, Requests: true, OnPause: wire.PausePass, Repeat: wire.RepeatSafe}, tunnel.Pause{Policy: wire.PausePass, Requests: 100, Patience: time.Minute}},
		"filtered": {filter, func(*config.Incoming) {}, wire.SubscribeParams{Mode: wire.ModeSteal, Requests: true, OnPause: wire.PauseReject, Repeat: wire.RepeatSafe, Filter: []byte(filter)}, tunnel.Pause{Policy: wire.PauseReject, Requests: 100, Patience: time.Minute}},
		"hold": {"", func(i *config.Incoming) { i.OnPause, i.Hold = config.PauseHold, config.Hold{Requests: 3, Seconds: 9} },
			wire.SubscribeParams{Mode: wire.ModeSteal, Requests: true, OnPause: wire.PauseHold, Hold: 9, Repeat: wire.RepeatSafe}, tunnel.Pause{Policy: wire.PauseHold, Requests: 3, Patience: 9 * time.Second}},
		"mirror": {"", func(i *config.Incoming) { i.Mode = config.ModeMirror }, wire.SubscribeParams{Mode: wire.ModeMirror}, tunnel.Pause{}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newPlace(t, "pod/a")
			s, err := begin(t, newTarget(a), func(m *config.Mirror) {
				m.Incoming.Filter = declared(t, c.filter)
				m.Incoming.Hold, m.Incoming.OnExit, m.Incoming.HangTimeout = config.Default().Incoming.Hold, config.FailFallback, 5
				c.incoming(&m.Incoming)
			})
			if err != nil {
				t.Fatal(err)
			}
			c.want.Port = 80
			a.set(func() {
				if diff := cmp.Diff([]wire.SubscribeParams{c.want}, a.asked); diff != "" {
					t.Errorf("asked (-want +got):\n%s", diff)
				}
			})
			if s.tunnel.Pause != c.pause {
				t.Errorf("the tunnel's policy is %+v, want %+v", s.tunnel.Pause, c.pause)
			}
			if name != "mirror" && (s.tunnel.HangTimeout != 5*time.Second || s.tunnel.Fallback != (tunnel.Fallback{OnExit: true})) {
				t.Errorf("the tunnel gives up after %v with %+v", s.tunnel.HangTimeout, s.tunnel.Fallback)
			}
		})
	}
}

func declared(t *testing.T, text string) config.Filter {
	t.Helper()
	if text == "" {
		return config.Filter{}
	}
	f, err := config.ParseFilter(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSessionsOwnKeyIsMintedAndSaid(t *testing.T) {
	a := newPlace(t, "pod/a")
	s, err := begin(t, newTarget(a), func(m *config.Mirror) { m.Incoming.Filter = config.Filter{Mine: true} })
	if err != nil {
		t.Fatal(err)
	}
	key := s.wants.key
	want := fmt.Sprintf(`{"baggage":{"podstep":%q}}`, key)
	a.set(func() {
		if len(a.asked) != 1 || string(a.asked[0].Filter) != want || !filter.IsKey(key) {
			t.Errorf("asked with %+v, want the filter %s", a.asked, want)
		}
	})
	if said := "curl -H 'baggage: podstep=" + key + "'"; !slices.ContainsFunc(s.lines(), func(line string) bool { return strings.Contains(line, said) }) {
		t.Errorf("said %q, want %s", s.lines(), said)
	}
}

func TestAnAgentThatDoesNotKnowFiltersIsNotAskedWithOne(t *testing.T) {
	old := func(t *testing.T, minor int) *fakePlace {
		a := newPlace(t, "pod/a")
		a.agent = wire.Hello{Major: wire.Major, Minor: minor, Program: "podstep-agent 0.1.0"}
		return a
	}
	for mode, minor := range map[string]int{config.ModeSteal: 1, config.ModeMirror: 2} {
		a := old(t, minor)
		_, err := begin(t, newTarget(a), func(m *config.Mirror) {
			m.Incoming.Mode, m.Incoming.Filter = mode, declared(t, `{"path":"/a"}`)
		})
		if f := fault.As(err); f.ID != fault.FilterUnknown || !strings.Contains(f.What, "podstep-agent 0.1.0") || len(a.asked) != 0 {
			t.Errorf("%s ended with %v after %+v, want FilterUnknown", mode, err, a.asked)
		}
	}
	if _, err := begin(t, newTarget(old(t, 1)), nil); err != nil {
		t.Errorf("without a filter: %v", err)
	}
}

func TestTheEndOfAClientsConnectionReachesTheProgram(t *testing.T) {
	a := newPlace(t, "pod/a")
	s := mustBegin(t, newTarget(a), nil)
	program := make(chan splice.Conn, 1)
	s.host.echo = func() (splice.Conn, error) {
		near, far := testkit.Pair(t)
		program <- far
		return near, nil
	}
	var agent *mux.Session
	var server *control.Server
	a.set(func() { agent, server = a.link, a.server })
	st, err := agent.Open(t.Context(), wire.Header{Kind: wire.KindRequest, Port: 80, Connection: 5, Request: 1}, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	_ = st.CloseWrite()
	far := <-program
	if _, err := http.ReadRequest(bufio.NewReader(far)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(far, "HTTP/1.1 204 No Content\r\n\r\n")
	if b, err := io.ReadAll(st); err != nil || !bytes.HasSuffix(b, []byte("HTTP/1.1 204 No Content\r\n\r\n")) {
		t.Fatalf("answered %q, %v", b, err)
	}
	if err := server.Closed(t.Context(), wire.ClosedParams{Connections: []uint64{5}}); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the program read %v, want the end of its connection", err)
	}
}
