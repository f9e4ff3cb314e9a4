package tunnel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// only is a filter.
func only(t *testing.T, text string) filter.Filter {
	t.Helper()
	f, err := filter.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// echo is a debuggee that says what it got.
func echo(t *testing.T) *debuggee {
	return served(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
	})
}

func postJSON(path, body string) string {
	return strings.Replace(post(path, body), "\r\n", "\r\nContent-Type: application/json\r\n", 1)
}

// ruled is an agent's end whose adapter has rules, and what is recorded.
func ruled(t *testing.T, tn *Tunnel, list ...Rule) (*agentEnd, *tapes) {
	t.Helper()
	rec := &tapes{}
	tn.Recorder = rec
	tn.SetRules(list)
	return connect(t, tn, echo(t)), rec
}

// parsed is a whole response.
func (o outcome) parsed(t *testing.T, method string) (*http.Response, string) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(o.Response)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%v: %v", o, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestRuleLetsRequestsFail(t *testing.T) {
	tn := &Tunnel{}
	a, rec := ruled(t, tn,
		Rule{Filter: only(t, `{"path": "/json"}`), Action: ActFail, Answer: Reply{Status: 422, Body: `{"error": "no"}`}, Words: "fail"},
		Rule{Filter: only(t, `{"path": "/once"}`), Action: ActFail, Answer: Reply{Status: 500}, Times: 1},
		Rule{Filter: only(t, `{"path": "/other"}`), Ports: []uint16{81}, Action: ActFail, Answer: Reply{Status: 500}},
		Rule{Filter: only(t, `{"json": {"user.id": "7"}}`), Action: ActFail, Answer: Reply{Status: 503}, Words: "by the body"},
	)
	res, body := a.ask(1, get("/json")).parsed(t, "GET")
	if res.StatusCode != 422 || body != `{"error": "no"}` || res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Cache-Control") != "no-store" || res.Close {
		t.Errorf("got %d %v %q", res.StatusCode, res.Header, body)
	}
	if got := rec.all()[0]; !cmp.Equal(got.went, []string{"nobody: a rule: fail"}) || !strings.Contains(string(got.response), "422") {
		t.Errorf("recorded %v %q", got.went, got.response)
	}
	// After what fails, the same client's requests are served.
	a.ask(1, get("/a")).answered(t, "GET", "GET /a ")
	if res, body := a.ask(1, get("/once")).parsed(t, "GET"); res.StatusCode != 500 || !strings.HasPrefix(body, "podstep: ") {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	a.ask(1, get("/once")).answered(t, "GET", "GET /once ")
	a.ask(1, get("/other")).answered(t, "GET", "GET /other ")
	if res, body := a.ask(1, "HEAD /json HTTP/1.1\r\nHost: web\r\n\r\n").parsed(t, "HEAD"); res.StatusCode != 422 || body != "" || res.ContentLength != 15 {
		t.Errorf("HEAD got %d, %d bytes", res.StatusCode, res.ContentLength)
	}
	if res, _ := a.ask(1, postJSON("/b", `{"user": {"id": 7}}`)).parsed(t, "POST"); res.StatusCode != 503 {
		t.Errorf("a body that matches got %d", res.StatusCode)
	}
	a.ask(1, postJSON("/b", `{"user": {"id": 8}}`)).answered(t, "POST", `POST /b {"user": {"id": 8}}`)
	chunked := "POST /b HTTP/1.1\r\nHost: web\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"user\": \r\n9\r\n{\"id\": 7}\r\n1\r\n}\r\n0\r\n\r\n"
	if res, _ := a.ask(1, chunked).parsed(t, "POST"); res.StatusCode != 503 {
		t.Errorf("a body of chunks that matches got %d", res.StatusCode)
	}
	waits := "POST /json HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
	if res, _ := a.ask(1, waits).parsed(t, "POST"); res.StatusCode != 422 || !res.Close {
		t.Errorf("a client that waits to send its body got %d, close=%v", res.StatusCode, res.Close)
	}
	met := []int64{}
	for _, r := range tn.Rules() {
		met = append(met, r.Met)
	}
	if !cmp.Equal(met, []int64{3, 1, 0, 2}) || tn.Counts().Failed != 6 {
		t.Errorf("met %v, failed %d", met, tn.Counts().Failed)
	}
}

// TestRuleIsNotKeptWaitingByABody : what comes late is not looked into, and loses no byte.
func TestRuleIsNotKeptWaitingByABody(t *testing.T) {
	tn := &Tunnel{}
	a, rec := ruled(t, tn, Rule{Filter: only(t, `{"json": {"id": "7"}}`), Action: ActFail, Answer: Reply{Status: 503}})
	// It returns when the request is delivered: without the rest.
	stream, err := a.open(1, "POST /slow HTTP/1.1\r\nHost: web\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"id\"")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stream, ": 7}"); err != nil {
		t.Fatal(err)
	}
	_ = stream.CloseWrite()
	a.hear(stream).answered(t, "POST", `POST /slow {"id": 7}`)
	if got := string(rec.all()[0].request); !strings.HasSuffix(got, "\r\n\r\n{\"id\": 7}") {
		t.Errorf("recorded %q", got)
	}
	// One that is longer than what the agent sends before the answer is judged at once.
	long := strings.Repeat("x", wire.MaxFirst)
	began := time.Now()
	a.ask(2, postJSON("/long", long)).answered(t, "POST", "POST /long "+long)
	if took := time.Since(began); took > bodyPatience/2 {
		t.Errorf("a long body took %v", took)
	}
}

func TestRuleDelays(t *testing.T) {
	tn := &Tunnel{}
	const delay = 300 * time.Millisecond
	a, rec := ruled(t, tn, Rule{Filter: only(t, `{"path": {"prefix": "/slow"}}`), Action: ActDelay, Delay: delay, Words: "delay"})
	began := time.Now()
	a.ask(1, get("/slow")).answered(t, "GET", "GET /slow ")
	if took := time.Since(began); took < delay {
		t.Errorf("it took %v, want at least %v", took, delay)
	}
	if got := rec.all()[0].went; !cmp.Equal(got, []string{"delayed: a rule: delay", "debuggee: "}) {
		t.Errorf("recorded %v", got)
	}
	tn.SetRules([]Rule{{Action: ActDelay, Delay: time.Minute}})
	gone := make(chan outcome, 1)
	go func() { gone <- a.ask(2, get("/slow/er")) }()
	testkit.Eventually(t, "it waits", func() bool { return len(rec.all()) == 2 && tn.Rules()[0].Met == 1 })
	a.clients.Closed(t.Context(), 2)
	if o := <-gone; o.Refused == nil {
		t.Errorf("a client that is gone got %v", o)
	}
}

// held waits until n requests are held.
func holding(t *testing.T, tn *Tunnel, n int) []Held {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%d requests are held", n), func() bool { return len(tn.Held()) == n })
	return tn.Held()
}

func TestBreakHoldsARequestUntilItIsReleased(t *testing.T) {
	told, ended := make(chan Held, 10), make(chan Release, 10)
	tn := &Tunnel{
		Pause:   Pause{Policy: wire.PauseReject, Requests: 2, Patience: time.Minute},
		Holding: func(h Held) { told <- h }, Released: func(_ Held, r Release) { ended <- r },
	}
	a, rec := ruled(t, tn, Rule{Filter: only(t, `{"path": {"prefix": "/orders/"}}`), Action: ActBreak, Words: "break on orders"})
	answers := map[string]chan outcome{}
	ask := func(connection uint64, path string) {
		answers[path] = make(chan outcome, 1)
		go func() { answers[path] <- a.ask(connection, get(path)) }()
	}
	ask(1, "/orders/1?token=x")
	h := <-told
	if h.ID != 1 || h.Method != "GET" || h.Path != "/orders/1" || h.Port != 80 || h.Rule != "break on orders" || h.Until.Sub(h.Since) != time.Minute {
		t.Errorf("told of %+v", h)
	}
	a.ask(3, get("/free")).answered(t, "GET", "GET /free ")
	ask(2, "/orders/2")
	holding(t, tn, 2)
	if o := a.ask(4, get("/orders/3")); o.Refused == nil || !strings.Contains(o.Refused.Error(), "2 requests are held already") {
		t.Errorf("one too many: %v", o)
	}
	if got := tn.Counts().Held; got != 2 {
		t.Errorf("counted %d", got)
	}
	// A stopped debugger is no reason not to deliver what a person releases.
	tn.SetPaused(true)
	for i, how := range []Release{ReleaseDeliver, ReleaseTarget} {
		if err := tn.Release([]uint64{1, 3}[i], how, Reply{}); err != nil {
			t.Fatal(err)
		}
	}
	(<-answers["/orders/1?token=x"]).answered(t, "GET", "GET /orders/1 ")
	if o := <-answers["/orders/2"]; o.Refused == nil || !strings.Contains(o.Refused.Error(), "released to the target") {
		t.Errorf("to the target: %v", o)
	}
	tn.SetPaused(false)
	ask(5, "/orders/4")
	id := holding(t, tn, 1)[0].ID
	if err := tn.Release(id, ReleaseFail, Reply{Status: 418}); err != nil {
		t.Fatal(err)
	}
	if res, _ := (<-answers["/orders/4"]).parsed(t, "GET"); res.StatusCode != 418 {
		t.Errorf("released to fail: %d", res.StatusCode)
	}
	if err := tn.Release(id, ReleaseDeliver, Reply{}); !errors.Is(err, ErrNotHeld) {
		t.Errorf("released twice: %v", err)
	}
	want := map[uint64][]string{
		1: {"held: a rule: break on orders", "debuggee: "},
		5: {"held: a rule: break on orders", "nobody: it was held and released to fail"},
	}
	for _, p := range rec.all() {
		if w := want[p.id]; w != nil && !cmp.Equal(p.went, w) {
			t.Errorf("request %d is recorded as %v, want %v", p.id, p.went, w)
		}
	}
	got := map[Release]int{}
	for range 3 {
		got[<-ended]++
	}
	if !cmp.Equal(got, map[Release]int{ReleaseDeliver: 1, ReleaseTarget: 1, ReleaseFail: 1}) {
		t.Errorf("told of %v", got)
	}
}

func TestHeldRequestThatNobodyReleasesIsTheTargets(t *testing.T) {
	ended := make(chan Release, 10)
	tn := &Tunnel{Pause: Pause{Requests: 9, Patience: 100 * time.Millisecond}, Released: func(_ Held, r Release) { ended <- r }}
	a, rec := ruled(t, tn, Rule{Action: ActBreak})
	if o := a.ask(1, get("/")); o.Refused == nil || !strings.Contains(o.Refused.Error(), "nobody released it within 100ms") {
		t.Errorf("got %v", o)
	}
	tn.Pause.Patience = time.Minute
	gone := make(chan outcome, 1)
	go func() { gone <- a.ask(2, get("/")) }()
	holding(t, tn, 1)
	a.clients.Closed(t.Context(), 2)
	if o := <-gone; o.Refused == nil || len(tn.Held()) != 0 {
		t.Errorf("a client that is gone: %v, held %v", o, tn.Held())
	}
	if got := []Release{<-ended, <-ended}; !cmp.Equal(got, []Release{Expired, Withdrawn}) {
		t.Errorf("told of %v", got)
	}
	// What passes while the debugger is stopped meets no rule.
	tn.SetPaused(true)
	if o := a.ask(3, get("/")); !o.isPaused() {
		t.Errorf("while stopped: %v", o)
	}
	testkit.Eventually(t, "all is recorded", func() bool { return rec.all()[2].done() })
	if got := rec.all()[2].went; len(got) != 1 || !strings.HasPrefix(got[0], "target: ") {
		t.Errorf("recorded %v", got)
	}
}

func TestProbeIsTheTargetsAtABreakpoint(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	d := served(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stop", "/hang":
			inside <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "fine")
	})
	t.Cleanup(func() { close(release) })
	tn := &Tunnel{Pause: Pause{Policy: wire.PauseHold, Requests: 9, Patience: time.Minute}}
	tn.SetRules([]Rule{{Action: ActBreak}})
	a := connect(t, tn, d)
	probe := func(path string) outcome {
		stream, err := a.Open(t.Context(), wire.Header{Kind: wire.KindRequest, Port: 80, From: from, To: to, Connection: a.last.Add(1), Protocol: wire.HTTP1, Probe: true}, []byte(get(path)))
		if err != nil {
			return outcome{Refused: err}
		}
		_ = stream.CloseWrite()
		defer func() { _ = stream.Close() }()
		return a.hear(stream)
	}
	probe("/healthz").answered(t, "GET", "fine")
	answer := make(chan outcome, 1)
	go func() { answer <- probe("/stop") }()
	<-inside
	tn.SetPaused(true)
	if o := <-answer; o.Failed == nil || !o.Failed.Fallback {
		t.Errorf("the debugger stopped in a probe: %v, want a failure with fallback", o)
	}
	if o := probe("/healthz"); !o.isPaused() {
		t.Errorf("while stopped: %v", o)
	}
	tn.SetPaused(false)
	go func() { answer <- probe("/hang") }()
	<-inside
	began := time.Now()
	if o := <-answer; o.Failed == nil || !o.Failed.Fallback || time.Since(began) > 2*probePatience {
		t.Errorf("a thread stopped in a probe: %v after %v", o, time.Since(began))
	}
}
