package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/dap"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// come makes a request come that the debuggee answers.
func come(l *requests.Log, path string) {
	r := l.Begin(wire.Header{Port: 80, Protocol: wire.HTTP1})
	r.Request([]byte("GET " + path + " HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer s3cret\r\n\r\n"))
	r.Went(requests.Debuggee, "")
	r.Response([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"))
	r.End(nil)
}

// withLog starts a session whose borrow has a log of requests.
func withLog(t *testing.T, opts requests.Options) (*bench, context.Context, *requests.Log) {
	t.Helper()
	l := requests.New(opts)
	f := &fake{play: func(f *fake) error {
		if err := f.upToLaunch(); err != nil {
			return err
		}
		for {
			m, err := f.next("scopes")
			if err != nil {
				return err
			}
			if err := f.send(fmt.Sprintf(`{"seq":9,"request_seq":%d,"type":"response","success":true,"command":"scopes","body":{"scopes":[]}}`, m.Seq)); err != nil {
				return err
			}
		}
	}}
	b, ctx := startSession(t, func(o *Options) {
		o.Start = f.start
		o.Begin = func(context.Context, Wish) (Borrow, error) {
			return &fakeBorrow{dir: sessionDir(t), done: make(chan struct{}), log: l}, nil
		}
	}), patiently(t)
	b.initialize(ctx, "debugpy")
	return b, ctx, l
}

// listed is the body of podstep/requests and of the event.
type listed struct {
	Requests []requests.Summary
	Omitted  int
}

func TestAClientThatAskedIsToldOfRequests(t *testing.T) {
	b, ctx, l := withLog(t, requests.Options{})
	b.request(ctx, "podstep/requests", nil) // before there is anything
	check(t, b.Launch(ctx, fakeLaunch(t), nil))
	come(l, "/a?token=s3cret")
	var got listed
	for len(got.Requests) == 0 || !got.Requests[0].Done {
		m, err := b.Event(ctx, "podstep/request")
		check(t, err)
		check(t, m.Decode(&got))
	}
	if r := got.Requests[0]; r.ID != 1 || r.Path != "/a" || r.Query != "token=****" || r.Status != 200 || r.Went != "debuggee" {
		t.Errorf("told of %+v", r)
	}
	answer := b.request(ctx, "podstep/requests", map[string]any{"since": 0, "limit": 5})
	check(t, answer.Decode(&got))
	if len(got.Requests) != 1 {
		t.Errorf("listed %+v", got)
	}
	var one struct {
		Request requests.Entry
		Text    string
	}
	check(t, b.request(ctx, "podstep/request", map[string]any{"id": 1, "unmasked": true}).Decode(&one))
	if v := one.Request.Request.Value("Authorization"); v != "Bearer s3cret" || one.Request.Response.Body.Text != "yes" {
		t.Errorf("shown %+v", one.Request)
	}
	check(t, b.request(ctx, "podstep/request", map[string]any{"id": 1, "format": "curl"}).Decode(&one))
	if !strings.HasPrefix(one.Text, "curl ") || strings.Contains(one.Text, "s3cret") {
		t.Errorf("as curl: %s", one.Text)
	}
	for _, wrong := range []map[string]any{{"id": 9}, {"id": 1, "format": "yaml"}, {"id": "x"}} {
		if m, err := b.Request(ctx, "podstep/request", wrong); err == nil {
			t.Errorf("%v: %s", wrong, m.Body)
		}
	}
	check(t, b.Close())
	b.over(nil)
}

// control notes what it is told.
type control struct {
	heard []string
	rules []requests.Rule
}

func (c *control) Rules() []requests.Rule { return c.rules }

func (c *control) SetRules(text []byte) error {
	c.heard = append(c.heard, "set "+string(text))
	if string(text) == "{}" {
		return errors.New("want a list")
	}
	return nil
}

func (c *control) AddRule(text []byte) error {
	c.heard = append(c.heard, "add "+string(text))
	c.rules = append(c.rules, requests.Rule{Rule: text, Words: "break"})
	return nil
}

func (c *control) Release(id uint64, r requests.Release) error {
	if id != 17 {
		return errors.New("not held")
	}
	c.heard = append(c.heard, fmt.Sprintf("%d %s %d", id, r.Action, r.Status))
	return nil
}

// TestTheScopeHasNoRequestThatCameAfterTheStop : what is delivered while the debugger is stopped is not what it stopped in.
func TestTheScopeHasNoRequestThatCameAfterTheStop(t *testing.T) {
	l, stops := requests.New(requests.Options{}), make(chan struct{})
	f := &fake{play: func(f *fake) error {
		if err := f.upToLaunch(); err != nil {
			return err
		}
		go func() {
			for range stops {
				_ = f.send(`{"seq":7,"type":"event","event":"stopped","body":{"reason":"breakpoint","threadId":1,"allThreadsStopped":true}}`)
			}
		}()
		for {
			m, err := f.next("scopes")
			if err != nil {
				return err
			}
			if err := f.send(fmt.Sprintf(`{"seq":9,"request_seq":%d,"type":"response","success":true,"command":"scopes","body":{"scopes":[]}}`, m.Seq)); err != nil {
				return err
			}
		}
	}}
	b, ctx := startLogged(t, f, l)
	inside := func(path string) { cameIn(l, path) }
	scope := func() string {
		var body struct{ Scopes []scope }
		check(t, b.request(ctx, "scopes", map[string]any{"frameId": 1}).Decode(&body))
		if len(body.Scopes) != 1 {
			t.Fatalf("scopes %+v", body)
		}
		return body.Scopes[0].Name
	}
	stop := func() {
		stops <- struct{}{}
		_, err := b.Stopped(ctx)
		check(t, err)
	}
	inside("/first")
	stop()
	inside("/second")
	if got := scope(); got != "Request" {
		t.Errorf("the scope is %s, want the request that it stopped in", got)
	}
	stop() // in whichever of both
	if got := scope(); got != "Requests (2 inside)" {
		t.Errorf("the scope is %s, want both", got)
	}
	close(stops)
	check(t, b.Close())
	b.over(nil)
}

func TestAClientSetsRulesAndReleasesRequests(t *testing.T) {
	c := &control{rules: []requests.Rule{}}
	b, ctx, _ := withLog(t, requests.Options{Control: c})
	check(t, b.Launch(ctx, fakeLaunch(t), nil))
	var got struct{ Rules []requests.Rule }
	check(t, b.request(ctx, "podstep/rules", nil).Decode(&got))
	if got.Rules == nil || len(got.Rules) != 0 {
		t.Errorf("listed %+v", got)
	}
	check(t, b.request(ctx, "podstep/rules", map[string]any{"rules": []any{}, "add": map[string]any{"action": "break"}}).Decode(&got))
	if len(got.Rules) != 1 || got.Rules[0].Words != "break" {
		t.Errorf("listed %+v", got)
	}
	b.request(ctx, "podstep/release", map[string]any{"id": 17, "action": "fail", "status": 418})
	for command, arguments := range map[string]map[string]any{"podstep/rules": {"rules": map[string]any{}}, "podstep/release": {"id": 18, "action": "deliver"}} {
		if m, err := b.Request(ctx, command, arguments); err == nil {
			t.Errorf("%s %v: %s", command, arguments, m.Body)
		}
	}
	want := []string{"set []", `add {"action":"break"}`, "17 fail 418", "set {}"}
	if !slices.Equal(c.heard, want) {
		t.Errorf("heard %q, want %q", c.heard, want)
	}
	check(t, b.Close())
	b.over(nil)
}

// TestManyRequestsDoNotDrownTheEditor : events are far apart, and what is not in them is counted.
func TestManyRequestsDoNotDrownTheEditor(t *testing.T) {
	b, ctx, l := withLog(t, requests.Options{})
	check(t, b.Launch(ctx, fakeLaunch(t), nil))
	b.request(ctx, "podstep/requests", nil)
	const many = 5000
	began := time.Now()
	for i := range many {
		come(l, fmt.Sprintf("/%d", i))
	}
	last, told, omitted := uint64(0), map[uint64]bool{}, 0
	for last < many {
		m, err := b.Event(ctx, "podstep/request")
		check(t, err)
		var got listed
		check(t, m.Decode(&got))
		if len(got.Requests) > maxTold {
			t.Errorf("an event with %d requests", len(got.Requests))
		}
		for _, r := range got.Requests {
			told[r.ID], last = true, r.ID
		}
		omitted += got.Omitted
	}
	if events := b.Count("podstep/request"); events > int(time.Since(began)/tellEvery)+2 {
		t.Errorf("%d events in %v", events, time.Since(began))
	}
	if len(told)+omitted < many {
		t.Errorf("%d were told and %d counted, of %d", len(told), omitted, many)
	}
	check(t, b.Close())
	b.over(nil)
}

func TestOthersAreNotToldOfRequests(t *testing.T) {
	b, ctx, l := withLog(t, requests.Options{})
	check(t, b.Launch(ctx, fakeLaunch(t), nil))
	come(l, "/a")
	b.request(ctx, "podstep/request", map[string]any{"id": 1})
	if n := b.Count("podstep/request"); n != 0 {
		t.Errorf("%d events", n)
	}
	check(t, b.Close())
	b.over(nil)
}

func TestAReplayIsAnsweredAtOnceAndEndsWithTheSession(t *testing.T) {
	ended := make(chan struct{})
	b, ctx, l := withLog(t, requests.Options{Replay: func(ctx context.Context, _ uint16, _ []byte, rec *requests.Recording) error {
		rec.Went(requests.Debuggee, "")
		<-ctx.Done()
		close(ended)
		return context.Cause(ctx)
	}})
	check(t, b.Launch(ctx, fakeLaunch(t), nil))
	come(l, "/a")
	var replay struct{ ID uint64 }
	check(t, b.request(ctx, "podstep/replay", map[string]any{"id": 1, "edited": "GET /b HTTP/1.1\nHost: shop\n"}).Decode(&replay))
	if e, ok := l.Entry(replay.ID, requests.Masked); !ok || e.Path != "/b" || e.ReplayOf != 1 {
		t.Errorf("replay %d: %+v", replay.ID, e)
	}
	testkit.Eventually(t, "the replay is inside", func() bool { return len(l.Inside()) == 1 })
	var body struct{ Scopes []scope }
	check(t, b.request(ctx, "scopes", map[string]any{"frameId": 1}).Decode(&body))
	if len(body.Scopes) != 1 || body.Scopes[0].Name != "Request" {
		t.Fatalf("scopes %+v", body)
	}
	var shown struct{ Variables []variable }
	check(t, b.request(ctx, "variables", map[string]any{"variablesReference": body.Scopes[0].VariablesReference}).Decode(&shown))
	if len(shown.Variables) != 1 || shown.Variables[0].Value != "GET /b" {
		t.Fatalf("variables %+v", shown)
	}
	check(t, b.request(ctx, "variables", map[string]any{"variablesReference": shown.Variables[0].VariablesReference}).Decode(&shown))
	if len(shown.Variables) < 10 || shown.Variables[2].Value != "/b" {
		t.Errorf("variables %+v", shown)
	}
	if _, err := b.Request(ctx, "podstep/replay", map[string]any{"id": 77}); err == nil {
		t.Error("an unknown one was replayed")
	}
	check(t, b.Close())
	b.over(nil)
	<-ended
}

// TestScopesDoNotWaitForADebuggerThatDoesNotTell : the debugger is asked whose request it is, says nothing, and the editor has its answer all the
// same; what the debugger says later is nobody's.
func TestScopesDoNotWaitForADebuggerThatDoesNotTell(t *testing.T) {
	l := requests.New(requests.Options{})
	asked := make(chan struct{})
	f := &fake{play: func(f *fake) error {
		if err := f.upToLaunch(); err != nil {
			return err
		}
		bodies := map[string]string{"stackTrace": `{"stackFrames":[{"id":7,"name":"do_GET"}],"totalFrames":1}`, "scopes": `{"scopes":[]}`, "threads": `{"threads":[]}`}
		var late string
		for {
			raw, err := f.in.Read()
			if err != nil {
				return err
			}
			m, err := dap.Parse(raw)
			if err != nil {
				return err
			}
			body := cmp.Or(bodies[m.Command], "{}")
			if m.Command == "evaluate" {
				late = fmt.Sprintf(`{"seq":9,"request_seq":%d,"type":"response","success":true,"command":"evaluate","body":{"result":"late"}}`, m.Seq)
				close(asked)
				continue
			}
			if m.Command == "threads" {
				if err := f.send(late); err != nil {
					return err
				}
			}
			if err := f.send(fmt.Sprintf(`{"seq":9,"request_seq":%d,"type":"response","success":true,"command":%q,"body":%s}`, m.Seq, m.Command, body)); err != nil {
				return err
			}
		}
	}}
	b, ctx := startLogged(t, f, l)
	for _, path := range []string{"/a", "/b"} {
		cameIn(l, path)
	}
	_, err := b.Frames(ctx, 1)
	check(t, err)
	began := time.Now()
	var body struct{ Scopes []scope }
	check(t, b.request(ctx, "scopes", map[string]any{"frameId": 7}).Decode(&body))
	if took := time.Since(began); len(body.Scopes) != 1 || body.Scopes[0].Name != "Requests (2 inside)" || took < askWithin {
		t.Errorf("after %v the scopes are %+v", took, body)
	}
	<-asked
	b.request(ctx, "threads", nil) // behind the late answer
	check(t, b.Close())
	b.over(nil)
}

// startLogged starts a session with f for a debugger, whose borrow has the log.
func startLogged(t *testing.T, f *fake, l *requests.Log) (*bench, context.Context) {
	t.Helper()
	b, ctx := startSession(t, func(o *Options) {
		o.Start = f.start
		o.Begin = func(context.Context, Wish) (Borrow, error) {
			return &fakeBorrow{dir: sessionDir(t), done: make(chan struct{}), log: l}, nil
		}
	}), patiently(t)
	b.initialize(ctx, "debugpy")
	check(t, b.Launch(ctx, fakeLaunch(t), nil))
	return b, ctx
}

// cameIn records a request that the debuggee has.
func cameIn(l *requests.Log, path string) {
	r := l.Begin(wire.Header{Port: 80, Protocol: wire.HTTP1})
	r.Request([]byte("GET " + path + " HTTP/1.1\r\nHost: shop\r\n\r\n"))
	r.Went(requests.Debuggee, "")
}
