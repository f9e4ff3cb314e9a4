package borrow

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

func TestSubscriptionsSayWhatTheSessionWants(t *testing.T) {
	rules := func(text string) func(*config.Incoming) {
		return func(i *config.Incoming) {
			list, err := config.ParseRules([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			i.Rules = list
		}
	}
	const hold = `[{"action": "break"}, {"action": "delay", "delay": "50s"}, {"action": "delay", "delay": "1500ms"}]`
	for name, c := range map[string]struct {
		change func(*config.Incoming)
		want   wire.SubscribeParams
	}{
		"plain":                               {func(*config.Incoming) {}, wire.SubscribeParams{}},
		"break":                               {rules(`[{"action": "fail"}, {"action": "break"}]`), wire.SubscribeParams{Hold: 60}},
		"delay":                               {rules(`[{"action": "delay", "delay": "1500ms"}]`), wire.SubscribeParams{Hold: 2}},
		"delay, then the debugger is stopped": {func(i *config.Incoming) { rules(hold)(i); i.OnPause = config.PauseHold }, wire.SubscribeParams{Hold: 110}},
		"probes, existing": {func(i *config.Incoming) {
			i.Probes, i.Existing, i.ProbeFilter.Declared = config.ProbesDebuggee, config.ExistingReset, declared(t, `{"path":"/alive"}`).Declared
		}, wire.SubscribeParams{ProbesTo: wire.ProbesDebuggee, Existing: wire.ExistingReset, ProbeFilter: []byte(`{"path":"/alive"}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newPlace(t, "pod/a")
			mustBegin(t, newTarget(a), func(m *config.Mirror) {
				m.Incoming.Hold = config.Default().Incoming.Hold
				c.change(&m.Incoming)
			})
			a.set(func() {
				got := a.asked[0]
				got = wire.SubscribeParams{Hold: got.Hold, ProbesTo: got.ProbesTo, ProbeFilter: got.ProbeFilter, Existing: got.Existing}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("asked (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestRulesAreSetWhileTheSessionLasts(t *testing.T) {
	a := newPlace(t, "pod/a")
	s := mustBegin(t, newTarget(a), func(m *config.Mirror) { m.Incoming.Hold = config.Hold{Requests: 5, Seconds: 30} })
	s.host.echo = func() (splice.Conn, error) { // a debuggee that answers with nothing but a status
		near, far := testkit.Pair(t)
		go func() {
			_, _ = far.Read(make([]byte, 4096))
			_, _ = io.WriteString(far, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			_ = far.Close()
		}()
		return near, nil
	}
	control := s.Requests().Control()
	for _, text := range []string{`[{"action": "brake"}]`, `{`} {
		if err := control.SetRules([]byte(text)); err == nil {
			t.Errorf("%s became the rules", text)
		}
	}
	if err := control.SetRules([]byte(`[{"action": "fail", "filter": {"path": "/no"}}]`)); err != nil {
		t.Fatal(err)
	}
	if err := control.AddRule([]byte(`{"action": "break", "filter": {"path": {"prefix": "/orders/"}}, "times": 1}`)); err != nil {
		t.Fatal(err)
	}
	a.hears("patience 30")
	answer := make(chan string, 1)
	go func() {
		a.mu.Lock()
		link := a.link
		a.mu.Unlock()
		st, err := link.Open(t.Context(), wire.Header{Kind: wire.KindRequest, Port: 80, Connection: 1, Request: 1, Protocol: wire.HTTP1}, []byte("GET /orders/3?token=x HTTP/1.1\r\nHost: a\r\n\r\n"))
		if err != nil {
			answer <- err.Error()
			return
		}
		_ = st.CloseWrite()
		text, _ := io.ReadAll(st)
		_ = st.Close()
		answer <- string(text)
	}()
	s.saysSoon(`request 1 GET /orders/3 waits, by the rule to break on requests with path begins with "/orders/", the first one; podstep requests deliver 1 (or target, or fail) lets it go on, and after 30s the target has it`)
	if list := s.Requests().List(0, 0); len(list) != 1 || list[0].Went != requests.Held || list[0].Done {
		t.Errorf("listed %+v", list)
	}
	if got := s.Status().Counts.Held; got != 1 {
		t.Errorf("%d are held", got)
	}
	for _, wrong := range []requests.Release{{Action: "go"}, {Action: "fail", Status: 200}} {
		if err := control.Release(1, wrong); err == nil {
			t.Errorf("released by %+v", wrong)
		}
	}
	if err := control.Release(1, requests.Release{Action: "deliver"}); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; !strings.Contains(got, "204 No Content") {
		t.Errorf("answered %q", got)
	}
	var words []string
	var met []int64
	for _, r := range control.Rules() {
		words, met = append(words, r.Words), append(met, r.Met)
	}
	want := []string{`break on requests with path begins with "/orders/", the first one`, `fail with 503: requests with path = "/no"`}
	if !cmp.Equal(words, want) || !cmp.Equal(met, []int64{1, 0}) {
		t.Errorf("rules %q met %v", words, met)
	}
	if got := string(control.Rules()[0].Rule); got != `{"filter":{"path":{"prefix":"/orders/"}},"action":"break","times":1}` {
		t.Errorf("written as %s", got)
	}
}

func TestAMirrorHasNoRules(t *testing.T) {
	s := mustBegin(t, newTarget(newPlace(t, "pod/a")), func(m *config.Mirror) { m.Incoming.Mode = config.ModeMirror })
	if err := s.Requests().Control().AddRule([]byte(`{"action": "break"}`)); err == nil {
		t.Error("it has one")
	}
}

func TestReleasesAreTold(t *testing.T) {
	var got []tunnel.Release
	s := mustBegin(t, newTarget(newPlace(t, "pod/a")), nil)
	s.opts.Held = func(_ tunnel.Held, how tunnel.Release) { got = append(got, how) }
	h := tunnel.Held{ID: 7, Method: "GET", Path: "/a"}
	for _, how := range []tunnel.Release{tunnel.ReleaseDeliver, tunnel.Expired, tunnel.Withdrawn} {
		s.releasedTo(h, how)
	}
	s.saysSoon("request 7 GET /a went to the target: nobody released it within 0s")
	s.saysSoon("request 7 GET /a waits no more: its client is gone")
	if !cmp.Equal(got, []tunnel.Release{tunnel.ReleaseDeliver, tunnel.Expired, tunnel.Withdrawn}) {
		t.Errorf("told %v", got)
	}
}

func TestThePersonHearsOfResetConnections(t *testing.T) {
	for name, c := range map[string]struct {
		existing, reset int
		kept            string
		want            []string
	}{
		"all":   {0, 3, "", []string{"3 connections to port 80 of pod/a existed before and were reset: their clients connect again"}},
		"older": {2, 0, "", []string{"2 connections to port 80 of pod/a existed before and stay with the target: the agent is older and resets none"}},
		"lacks": {1, 1, "the kernel lacks it", []string{
			"1 connection to port 80 of pod/a existed before and was reset: its client connects again",
			"1 connection to port 80 of pod/a existed before and stays with the target: the kernel lacks it",
		}},
		"none": {0, 0, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := newPlace(t, "pod/a")
			a.existing, a.reset, a.kept = c.existing, c.reset, c.kept
			s := mustBegin(t, newTarget(a), func(m *config.Mirror) {
				m.Incoming.Ports, m.Incoming.Existing = map[uint16]uint16{80: 8080}, config.ExistingReset
			})
			var got []string
			for _, line := range s.lines() {
				if strings.Contains(line, "existed before") {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
