//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/requests/local"
	"podstep.dev/internal/wire"
)

// sessionsHere makes a runtime directory for this test's sessions.
func sessionsHere(t *testing.T) string {
	t.Helper()
	runtime, err := os.MkdirTemp("", "podstep-test") // short: unix sockets stand in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(runtime) })
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	t.Setenv("TMPDIR", runtime)
	return runtime
}

// startSession serves a session whose debuggee answers a replay with what it got.
func startSession(t *testing.T, runtime, name, target string) (*requests.Log, *local.Server) {
	t.Helper()
	return startSessionWith(t, runtime, name, target, requests.Options{Replay: func(_ context.Context, _ uint16, raw []byte, rec *requests.Recording) error {
		if strings.Contains(string(raw), "/refused") {
			return errors.New("connection refused")
		}
		rec.Went(requests.Debuggee, "")
		rec.Response(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(raw), raw))
		return nil
	}})
}

func startSessionWith(t *testing.T, runtime, name, target string, opts requests.Options) (*requests.Log, *local.Server) {
	t.Helper()
	dir := filepath.Join(runtime, "podstep", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	log := requests.New(opts)
	s, err := local.Serve(t.Context(), dir, local.Session{Target: target, Mode: "steal"}, log, nil, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return log, s
}

func came(l *requests.Log, request, response, went, why string, failed error) {
	r := l.Begin(wire.Header{Port: 80, Protocol: wire.HTTP1})
	r.Request([]byte(request))
	r.Went(went, why)
	r.Response([]byte(response))
	r.End(failed)
}

const pay = "POST /pay?token=s3cret HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer s3cret\r\nContent-Length: 8\r\n\r\namount=1"

// fill makes three requests come.
func fill(l *requests.Log) {
	came(l, pay, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", requests.Debuggee, "", nil)
	came(l, "GET /"+strings.Repeat("x", 80)+" HTTP/1.1\r\nHost: shop\r\n\r\n", "", requests.Target, "the debugger is stopped", nil)
	r := l.Begin(wire.Header{Port: 80, Protocol: wire.HTTP1})
	r.Request([]byte("GET /slow HTTP/1.1\r\nHost: shop\r\n\r\n"))
	r.Went(requests.Debuggee, "")
}

// steady replaces what differs between runs.
func steady(text string) string {
	text = regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`).ReplaceAllString(text, "hh:mm:ss.mmm")
	return regexp.MustCompile(`\d\.\d ms`).ReplaceAllString(text, "n.n ms")
}

func (c *call) mustRun(t *testing.T, args string) string {
	t.Helper()
	c.stdout.Reset()
	if status := c.execute(t.Context(), strings.Fields(args)); status != 0 {
		t.Fatalf("%s: status %d: %s", args, status, c.stderr.String())
	}
	return c.stdout.String()
}

func TestRequestsAreATable(t *testing.T) {
	runtime := sessionsHere(t)
	first, _ := startSession(t, runtime, "1", "process/1")
	fill(first)
	one := `
TIME           ID   METHOD   PATH                                                           STATUS   TOOK     WENT TO
hh:mm:ss.mmm   1    POST     /pay?token=****                                                201      n.n ms   debuggee
hh:mm:ss.mmm   2    GET      /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…   -        n.n ms   target: the debugger is stopped
hh:mm:ss.mmm   3    GET      /slow                                                          -        -        debuggee
`
	if diff := cmp.Diff(one, "\n"+steady(newCall(0, nil).mustRun(t, "requests"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	second, _ := startSession(t, runtime, "2", "deployment/web")
	if text := newCall(0, nil).mustRun(t, "requests --session deployment/web"); text != "" {
		t.Errorf("nothing came: %q", text)
	}
	came(second, pay, "", requests.Nobody, "", errors.New("reset"))
	two := `
SESSION   TIME           ID   METHOD   PATH                                                           STATUS   TOOK     WENT TO
1         hh:mm:ss.mmm   1    POST     /pay?token=****                                                201      n.n ms   debuggee
1         hh:mm:ss.mmm   2    GET      /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…   -        n.n ms   target: the debugger is stopped
1         hh:mm:ss.mmm   3    GET      /slow                                                          -        -        debuggee
2         hh:mm:ss.mmm   1    POST     /pay?token=****                                                -        n.n ms   nobody: reset
`
	if diff := cmp.Diff(two, "\n"+steady(newCall(0, nil).mustRun(t, "requests"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var lists []sessionRequests
	if err := json.Unmarshal([]byte(newCall(0, nil).mustRun(t, "requests -o json")), &lists); err != nil || len(lists) != 2 || len(lists[0].Requests) != 3 {
		t.Errorf("JSON: %v, %v", lists, err)
	}
	var har requests.HAR
	if err := json.Unmarshal([]byte(newCall(0, nil).mustRun(t, "requests -o har --unmasked")), &har); err != nil || len(har.Log.Entries) != 4 || !strings.Contains(har.Log.Entries[3].Request.URL, "s3cret") {
		t.Errorf("HAR: %v, %v", har, err)
	}
}

func TestARequestIsShownInEveryForm(t *testing.T) {
	l, _ := startSession(t, sessionsHere(t), "1", "process/1")
	fill(l)
	for args, want := range map[string]string{
		"requests 1":              "\nPOST /pay?token=**** HTTP/1.1\nHost: shop\nAuthorization: Bearer ****\nContent-Length: 8\n\namount=1\n\nHTTP/1.1 201 Created\n",
		"requests show 1 -o http": "\nPOST /pay?token=**** HTTP/1.1\nHost: shop\nAuthorization: Bearer ****\n\namount=1\n",
		"requests show 1 -o curl": "curl 'http://shop/pay?token=****' -H 'Authorization: Bearer ****'",
		"requests show 1 -o har":  `"version": "1.2"`,
		"requests show 1 -o json": `"method": "POST"`,
	} {
		text := newCall(0, nil).mustRun(t, args)
		if strings.Contains(text, "s3cret") || !strings.Contains(text, want) {
			t.Errorf("%s: %q", args, text)
		}
		if text := newCall(0, nil).mustRun(t, args+" --unmasked"); !strings.Contains(text, "s3cret") {
			t.Errorf("%s --unmasked: %q", args, text)
		}
	}
}

func TestReplayPrintsTheAnswer(t *testing.T) {
	l, _ := startSession(t, sessionsHere(t), "1", "process/1")
	fill(l)
	if got := newCall(0, nil).mustRun(t, "requests replay 1"); !strings.HasPrefix(got, "HTTP/1.1 200 OK\nContent-Length: ") || !strings.Contains(got, "\n\nPOST /pay?token=s3cret") {
		t.Errorf("got %q", got)
	}
	c := newCall(0, nil)
	shown := c.mustRun(t, "requests show 1 -o http")
	c.in = strings.NewReader(strings.Replace(shown, "amount=1", "amount=22", 1))
	if got := c.mustRun(t, "requests replay 1 --edit -"); !strings.Contains(got, "Bearer s3cret") || !strings.HasSuffix(got, "Content-Length: 9\r\n\r\namount=22\n") {
		t.Errorf("edited: %q", got)
	}
	file := filepath.Join(t.TempDir(), "pay.http")
	if err := os.WriteFile(file, []byte("GET /refused HTTP/1.1\nHost: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]struct {
		status int
		words  string
	}{
		"requests replay 1 --edit " + file: {statusFault, "and not answered: connection refused [podstep-6012]"},
		"requests replay 1 --edit /none":   {statusFault, "[podstep-1002]"},
		"requests replay 1 --edit -":       {statusUsage, "there is nothing in it"},
		"requests replay 99":               {statusFault, "there is no request 99 (any more) [podstep-6011]"},
		"requests replay x":                {statusUsage, `"x" is no id`},
		"requests replay":                  {statusUsage, "accepts 1 arg"},
		"requests show 0":                  {statusFault, "[podstep-6011]"},
		"requests show 1 -o yaml":          {statusUsage, "--output yaml is none of [text http curl har json]"},
		"requests -o curl":                 {statusUsage, "--output curl is none of [text json har]"},
		"requests -f -o har":               {statusUsage, "exclude each other"},
		"requests --session x":             {statusFault, `there is no session "x" [podstep-6010]`},
	} {
		c := newCall(0, nil)
		if status := c.execute(t.Context(), strings.Fields(args)); status != want.status || !strings.Contains(c.stderr.String(), want.words) {
			t.Errorf("%s: status %d, %q; want %d and %q", args, status, c.stderr.String(), want.status, want.words)
		}
	}
}

func TestReplayAsksWhichSession(t *testing.T) {
	runtime := sessionsHere(t)
	for _, name := range []string{"1", "2"} {
		l, _ := startSession(t, runtime, name, "process/"+name)
		fill(l)
	}
	c := newCall(0, nil)
	if status := c.execute(t.Context(), []string{"requests", "replay", "1"}); status != statusUsage || !strings.Contains(c.stderr.String(), "1 (process/1), 2 (process/2)") {
		t.Errorf("status %d, %q", status, c.stderr.String())
	}
	newCall(0, nil).mustRun(t, "requests replay 1 --session 2")
	newCall(0, nil).mustRun(t, "requests show 4 --session process/2")
	newCall(0, nil).mustRun(t, "requests 4")
}

// followed runs a command that goes on and lets the test read its output.
type followed struct {
	*call
	t    *testing.T
	out  *io.PipeReader
	seen strings.Builder
	done chan int
}

func follow(ctx context.Context, t *testing.T, args string) *followed {
	f := &followed{call: newCall(0, nil), t: t, done: make(chan int, 1)}
	var w *io.PipeWriter
	f.out, w = io.Pipe()
	f.call.out = w
	go func() {
		status := f.execute(ctx, strings.Fields(args))
		_ = w.Close()
		f.done <- status
	}()
	return f
}

func (f *followed) until(want string) {
	f.t.Helper()
	buf := make([]byte, 4096)
	for !strings.Contains(f.seen.String(), want) {
		n, err := f.out.Read(buf)
		f.seen.Write(buf[:n])
		if err != nil {
			f.t.Fatalf("%v before %q; %s", err, want, f.seen.String())
		}
	}
}

// over reads the rest.
func (f *followed) over() {
	f.t.Helper()
	_, _ = io.Copy(&f.seen, f.out)
	if status := <-f.done; status != 0 {
		f.t.Errorf("status %d: %s", status, f.stderr.String())
	}
}

func TestFollowTellsOfEachRequestWhenItIsOver(t *testing.T) {
	runtime := sessionsHere(t)
	l, session := startSession(t, runtime, "1", "process/1")
	fill(l)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := follow(ctx, t, "requests -f")
	f.until("   2 ")
	came(l, "GET /new HTTP/1.1\r\nHost: shop\r\n\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", requests.Debuggee, "", nil)
	f.until("   4       GET       /new")
	held := l.Begin(wire.Header{Port: 80, Protocol: wire.HTTP1})
	held.Request([]byte("GET /held HTTP/1.1\r\nHost: shop\r\n\r\n"))
	held.Went(requests.Held, "a rule")
	f.until("/held")
	f.until("held: a rule\n")
	if strings.Contains(f.seen.String(), "/slow") {
		t.Errorf("a request that is not over: %s", f.seen.String())
	}
	// The session ends, and another one begins.
	_ = session.Close()
	l, _ = startSession(t, runtime, "2", "process/2")
	came(l, "GET /later HTTP/1.1\r\nHost: shop\r\n\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", requests.Debuggee, "", nil)
	f.until("\nSESSION")
	f.until("\n2   ")
	f.until("/later")
	cancel()
	f.over()
}

func TestFollowWaitsForTheFirstSession(t *testing.T) {
	runtime := sessionsHere(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := follow(ctx, t, "requests -f --session process/2")
	other, _ := startSession(t, runtime, "1", "process/1")
	fill(other)
	l, _ := startSession(t, runtime, "2", "process/2")
	came(l, "GET /first HTTP/1.1\r\nHost: shop\r\n\r\n", "", requests.Target, "", nil)
	f.until("/first")
	cancel()
	f.over()
	if strings.Contains(f.seen.String(), "/pay") || strings.Contains(f.seen.String(), "SESSION") {
		t.Errorf("another session's: %s", f.seen.String())
	}
}

// made is a session's control that a test looks into.
type made struct {
	rules    []requests.Rule
	released []string
}

func (m *made) Rules() []requests.Rule { return m.rules }

func (m *made) SetRules(text []byte) error {
	if strings.Contains(string(text), "brake") {
		return errors.New("unknown value")
	}
	m.rules = []requests.Rule{}
	return nil
}

func (m *made) AddRule(text []byte) error {
	m.rules = append([]requests.Rule{{Rule: text, Words: "break on " + string(text), Met: int64(len(m.rules))}}, m.rules...)
	return nil
}

func (m *made) Release(id uint64, r requests.Release) error {
	if len(m.released) == 3 {
		return errors.New("the request is not held (any more)")
	}
	m.released = append(m.released, fmt.Sprintf("%d %s %d %s", id, r.Action, r.Status, r.Body))
	return nil
}

func TestRulesAreListedAndChanged(t *testing.T) {
	m := &made{rules: []requests.Rule{}}
	startSessionWith(t, sessionsHere(t), "1", "process/1", requests.Options{Control: m})
	c := newCall(0, nil)
	if out := c.mustRun(t, "rules"); out != "" || c.stderr.String() != "podstep: there are no rules\n" {
		t.Errorf("%q %q", out, c.stderr.String())
	}
	newCall(0, nil).mustRun(t, `rules add {"a":1}`)
	if out := newCall(0, nil).mustRun(t, `rules add --session process/1 {}`); out != "RULE   MET   WHAT\n1      1     break on {}\n2      0     break on {\"a\":1}\n" {
		t.Errorf("%q", out)
	}
	if out := newCall(0, nil).mustRun(t, "rules -o json"); !strings.Contains(out, `"words": "break on {}"`) {
		t.Errorf("%q", out)
	}
	file := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(file, []byte(`[{"action": "brake"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	c = newCall(0, nil)
	if status := c.execute(t.Context(), []string{"rules", "set", file}); status != statusUsage || !strings.Contains(c.stderr.String(), "unknown value") {
		t.Errorf("status %d, %q", status, c.stderr.String())
	}
	newCall(0, nil).mustRun(t, "rules clear")
	if len(m.rules) != 0 {
		t.Errorf("left %v", m.rules)
	}
}

func TestHeldRequestsAreReleased(t *testing.T) {
	m := &made{}
	l, _ := startSessionWith(t, sessionsHere(t), "1", "process/1", requests.Options{Control: m})
	fill(l)
	for _, args := range []string{"requests deliver 1", "requests target 2", "requests fail 3 --status 418 --body {}"} {
		newCall(0, nil).mustRun(t, args)
	}
	if want := []string{"1 deliver 0 ", "2 target 0 ", "3 fail 418 {}"}; !cmp.Equal(m.released, want) {
		t.Errorf("released %q, want %q", m.released, want)
	}
	c := newCall(0, nil)
	if status := c.execute(t.Context(), []string{"requests", "deliver", "1"}); status != statusFault || !strings.Contains(c.stderr.String(), "[podstep-6013]") || !strings.Contains(c.stderr.String(), "not held") {
		t.Errorf("status %d, %q", status, c.stderr.String())
	}
}

func TestFollowEndsWithThePerson(t *testing.T) {
	l, _ := startSession(t, sessionsHere(t), "1", "process/1")
	fill(l)
	ctx, cancel := context.WithCancel(t.Context())
	f := follow(ctx, t, "requests -f -o json")
	f.until(`"path":"/slow"`)
	cancel()
	f.over()
}

func TestRequestsNeedASession(t *testing.T) {
	runtime := sessionsHere(t)
	_, session := startSession(t, runtime, "1", "process/1")
	_ = session.Close()
	for _, args := range []string{"requests", "rules", "requests show 1", "requests replay 1", "requests deliver 1"} {
		c := newCall(0, nil)
		if status := c.execute(t.Context(), strings.Fields(args)); status != statusFault || !strings.Contains(c.stderr.String(), "no session of yours runs on this machine [podstep-6010]") {
			t.Errorf("%s: status %d, %q", args, status, c.stderr.String())
		}
	}
}
